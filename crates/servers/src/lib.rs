//! Real servers for tests and benchmarks: started on a free port, stopped when dropped.
