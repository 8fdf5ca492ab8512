//! Runnable examples: one idea a file.
