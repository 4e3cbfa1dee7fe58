mod assemble;
mod select;
mod trees;
