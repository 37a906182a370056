"""The pure part: what an exchange is, what filters say of it, what follows. No await, no clock, no I/O."""
