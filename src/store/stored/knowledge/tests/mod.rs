mod backend;
mod replica;
mod simulation;
mod table;
mod world;
