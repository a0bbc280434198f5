mod behaviour;
mod drain;
mod hammer;
mod memory;
mod random;
mod script;
