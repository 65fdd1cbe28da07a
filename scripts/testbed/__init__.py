"""The test bed: real engine, hub and git server, shared by tests, demo and benchmarks."""
