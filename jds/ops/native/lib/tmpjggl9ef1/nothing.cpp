extern "C" int jds_nothing() { return 0; }
