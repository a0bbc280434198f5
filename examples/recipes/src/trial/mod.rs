//! The trial that every client passes: five phases against a server that rotates its tokens.

mod answer;
mod phases;
mod server;

pub use phases::trial;
pub use server::Server;
