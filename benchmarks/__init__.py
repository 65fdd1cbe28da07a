"""What Repo2DockerSpawner costs, measured beside what one would do without it."""
