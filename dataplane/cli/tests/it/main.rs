//! The program as people and scripts meet it: its real binary, its real processes.

mod contexts;
mod dev;
mod help;
mod refused;
mod support;
