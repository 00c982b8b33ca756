-- Text is bytes in UTF-8, because there is no collation that MySQL and MariaDB both have and that
-- compares by code point: see a text with CONVERT(params USING utf8mb4).
-- The checks keep out rows of other programs that no claim could hand to anybody.
CREATE TABLE IF NOT EXISTS jobs (
    id VARBINARY(36) NOT NULL PRIMARY KEY,
    creation_time BIGINT NOT NULL,
    job_name VARBINARY(2000) NOT NULL,
    params LONGBLOB NOT NULL,
    timeout DOUBLE CHECK (timeout >= 0),
    status BIGINT NOT NULL,
    result LONGBLOB,
    retry_count BIGINT NOT NULL DEFAULT 0 CHECK (retry_count BETWEEN 0 AND 4294967295),
    last_update_time BIGINT NOT NULL,
    priority BIGINT NOT NULL DEFAULT 0 CHECK (priority BETWEEN -32768 AND 32767),
    next_attempt_at BIGINT NOT NULL DEFAULT 0,
    max_retries BIGINT CHECK (max_retries BETWEEN 0 AND 4294967295),
    unique_key VARBINARY(1020),
    lease_owner VARBINARY(1020),
    lease_expires_at BIGINT,
    fence BIGINT NOT NULL DEFAULT 0 CHECK (fence >= 0),
    last_error LONGBLOB,
    -- Whether next_attempt_at was found to have passed: such jobs are in the claim indexes.
    due BIGINT NOT NULL DEFAULT 0,

    -- There are no partial indexes, so each of these is NULL in the rows that its index is not for:
    -- they stand together at one end of the index, where nobody reads. The rank counts backwards,
    -- because MariaDB before 10.8 has no descending indexes.
    claim_rank BIGINT GENERATED ALWAYS AS
        (CASE WHEN status = 0 AND due = 1 THEN -priority END) STORED,
    waiting_until BIGINT GENERATED ALWAYS AS
        (CASE WHEN status = 0 AND due = 0 THEN next_attempt_at END) STORED,
    ended_at BIGINT GENERATED ALWAYS AS
        (CASE WHEN status > 1 THEN last_update_time END) STORED,
    held_key VARBINARY(1020) GENERATED ALWAYS AS
        (CASE WHEN status < 2 THEN unique_key END) STORED,

    -- Listing and counting: one branch for each status, or for each name and status.
    INDEX jobs_by_status (status, creation_time, id),
    INDEX jobs_by_name (job_name, status, creation_time, id),

    -- Claiming, of one name and of any.
    INDEX jobs_due_by_name (job_name, claim_rank, next_attempt_at, id),
    INDEX jobs_due (claim_rank, next_attempt_at, id),
    INDEX jobs_waiting (waiting_until, id),

    -- Deleting by age.
    INDEX jobs_ended (ended_at, id),

    UNIQUE INDEX jobs_unique_key (job_name, held_key)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
