-- Text is compared by code point on every engine, whatever the database's own collation.
-- The checks keep out rows of other programs that no claim could hand to anybody.
CREATE TABLE jobs (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY CHECK (id = id::uuid::text),
    creation_time BIGINT NOT NULL,
    job_name TEXT COLLATE "C" NOT NULL,
    params TEXT COLLATE "C" NOT NULL,
    timeout DOUBLE PRECISION CHECK (timeout >= 0 AND timeout <> 'NaN'),
    status BIGINT NOT NULL,
    result TEXT COLLATE "C",
    retry_count BIGINT NOT NULL DEFAULT 0 CHECK (retry_count BETWEEN 0 AND 4294967295),
    last_update_time BIGINT NOT NULL,
    priority BIGINT NOT NULL DEFAULT 0 CHECK (priority BETWEEN -32768 AND 32767),
    next_attempt_at BIGINT NOT NULL DEFAULT 0,
    max_retries BIGINT CHECK (max_retries BETWEEN 0 AND 4294967295),
    unique_key TEXT COLLATE "C",
    lease_owner TEXT COLLATE "C",
    lease_expires_at BIGINT,
    fence BIGINT NOT NULL DEFAULT 0 CHECK (fence >= 0),
    last_error TEXT COLLATE "C",
    -- Whether next_attempt_at was found to have passed: such jobs are in the claim indexes.
    due BIGINT NOT NULL DEFAULT 0,
    -- Whether jobs_params has a row of this job, or needs none. Rows of other programs have none.
    indexed BIGINT NOT NULL DEFAULT 0
) WITH (
    -- A claim reads past every row version that nobody vacuumed yet, so this table is vacuumed by
    -- the number of changes, not by their part of a history that only grows.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_analyze_threshold = 5000
);

-- Listing and counting: one branch for each status, or for each name and status.
CREATE INDEX jobs_by_status ON jobs (status, creation_time, id);
CREATE INDEX jobs_by_name ON jobs (job_name, status, creation_time, id);

-- Claiming, of one name and of any. Every job has such a priority: the words keep the planner from
-- looking for one name in the index of all, which it may prefer before it has statistics.
CREATE INDEX jobs_due_by_name ON jobs (job_name, priority DESC, next_attempt_at, id)
    WHERE status = 0 AND due = 1;
CREATE INDEX jobs_due ON jobs (priority DESC, next_attempt_at, id)
    WHERE status = 0 AND due = 1 AND priority >= -32768;
CREATE INDEX jobs_waiting ON jobs (next_attempt_at) WHERE status = 0 AND due = 0;

-- Deleting by age.
CREATE INDEX jobs_ended ON jobs (last_update_time, id) WHERE status > 1;

CREATE UNIQUE INDEX jobs_unique_key ON jobs (job_name, unique_key)
    WHERE unique_key IS NOT NULL AND status < 2;

-- Searching by params: a number for each top-level member, in a table of its own, because what a
-- claim or a finish writes would else be written to this index as well. There is no foreign key: it
-- would be checked for each job, and a row too many costs nothing but its place, until a job of that
-- id comes again.
CREATE TABLE jobs_params (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    terms BIGINT[] NOT NULL
);
CREATE INDEX jobs_params_terms ON jobs_params USING GIN (terms);
CREATE INDEX jobs_not_indexed ON jobs (id) WHERE indexed = 0;
