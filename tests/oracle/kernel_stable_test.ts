import { kernelTests } from "./kernel_suite.ts";

kernelTests("stable");
