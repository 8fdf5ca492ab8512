//! What was told to rejected requests holds, whatever clients, operators and machines do with it.

mod clients;
mod machines;
mod operators;
mod site;
mod slow_work;
mod tickets;
