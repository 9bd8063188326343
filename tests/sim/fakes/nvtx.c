// A listener for NVTX ranges (NVTX_INJECTION64_PATH), as profilers bring one: writes a line for each range that begins,
// indented by its depth, into the file NVTX_LOG.
#include <nvtx3/nvToolsExt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static FILE *out;
static int depth;

static int begins(const char *name) {
  fprintf(out, "%*s%s\n", 2 * depth, "", name);
  fflush(out);
  return depth++;
}
static int ends(void) { return --depth; }

__attribute__((visibility("default"))) int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t table);
int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t table) {
  const NvtxExportTableCallbacks *callbacks = table(NVTX_ETID_CALLBACKS);
  const char *file = getenv("NVTX_LOG");
  NvtxFunctionTable functions = NULL;
  unsigned int n = 0;
  if (!callbacks || !file || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &functions, &n) ||
      n <= NVTX_CBID_CORE_RangePop || !(out = fopen(file, "w")))
    return 0;
  *functions[NVTX_CBID_CORE_RangePushA] = (NvtxFunctionPointer)(uintptr_t)begins;
  *functions[NVTX_CBID_CORE_RangePop] = (NvtxFunctionPointer)(uintptr_t)ends;
  return 1;
}
