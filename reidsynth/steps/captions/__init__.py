"""Writers of captions; each is a method of the step `caption`."""
