//! A tree of its own, for what must not compile: trybuild builds all of it anew, and
//! here there is little.
