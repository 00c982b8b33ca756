DROP TABLE jobs_params;
DROP TABLE jobs;
