"""Pure logic, one package per workflow: no I/O, no clock, no Dagster."""
