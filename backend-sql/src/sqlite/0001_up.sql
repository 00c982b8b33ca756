CREATE TABLE jobs (
    id TEXT NOT NULL PRIMARY KEY,
    creation_time INTEGER NOT NULL,
    job_name TEXT NOT NULL,
    params TEXT NOT NULL,
    timeout REAL,
    status INTEGER NOT NULL,
    result TEXT,
    retry_count INTEGER NOT NULL DEFAULT 0,
    last_update_time INTEGER NOT NULL,
    priority INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER NOT NULL DEFAULT 0,
    max_retries INTEGER,
    unique_key TEXT,
    lease_owner TEXT,
    lease_expires_at INTEGER,
    fence INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    -- Whether next_attempt_at was found to have passed: such jobs are in the claim indexes.
    due INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Listing and counting: one branch for each status, or for each name and status.
CREATE INDEX jobs_by_status ON jobs (status, creation_time, id);
CREATE INDEX jobs_by_name ON jobs (job_name, status, creation_time, id);

-- Claiming, of one name and of any.
CREATE INDEX jobs_due_by_name ON jobs (job_name, priority DESC, next_attempt_at, id)
    WHERE status = 0 AND due = 1;
CREATE INDEX jobs_due ON jobs (priority DESC, next_attempt_at, id)
    WHERE status = 0 AND due = 1;
CREATE INDEX jobs_waiting ON jobs (next_attempt_at) WHERE status = 0 AND due = 0;

-- Deleting by age.
CREATE INDEX jobs_ended ON jobs (last_update_time, id) WHERE status > 1;

CREATE UNIQUE INDEX jobs_unique_key ON jobs (job_name, unique_key)
    WHERE unique_key IS NOT NULL AND status < 2;
