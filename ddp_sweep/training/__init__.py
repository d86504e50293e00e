"""What happens inside one DDP worker: torch, no Ray."""
