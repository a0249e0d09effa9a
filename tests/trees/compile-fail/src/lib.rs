//! Programs that must not compile, as examples: `//~` says where and why.
