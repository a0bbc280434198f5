mod simulation;
mod table;
