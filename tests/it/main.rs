mod support;
mod support_works;
