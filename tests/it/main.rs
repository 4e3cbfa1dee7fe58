mod tracer;
