//! Promises the workspace keeps, as tests over the whole stack.
