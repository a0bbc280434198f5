mod behaviour;
mod hammer;
mod memory;
mod random;
mod script;
