mod behaviour;
mod hammer;
mod random;
mod script;
