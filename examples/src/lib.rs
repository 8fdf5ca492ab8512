//! Runnable examples, in `examples/examples`: one idea in each file.
