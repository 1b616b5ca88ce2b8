static void test_kernels(void){}
