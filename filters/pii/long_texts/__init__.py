"""Long texts, searched for patterns in a process of their own: there they hold up no event loop's interpreter."""
