"""What may break during a soak. `base` has the interface; every other module injects one kind of fault, or a family of them."""
