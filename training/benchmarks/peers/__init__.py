"""What the benchmarks are measured against, as scripts for interpreters that have the other framework."""
