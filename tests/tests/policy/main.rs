//! The policy file: what it says, what is wrong with it, and how it changes while requests run.

mod bad_files;
mod canaries;
mod choice;
mod clients;
mod documents;
mod on_sockets;
mod reloads;
mod support;
mod watching;
