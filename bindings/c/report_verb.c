// report RUN...: one HTML file. Rule: the runs are read, never changed; the report is the only file written.
#include <string.h>

#include "bindings/c/call.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/train/report.h"

ig_status ig_verb_report(ig_call_state *c) {
  ig_status status = IG_OK;
  const char *out = ig_config_str(c->config, "out");
  char *path = NULL;
  json_t *result = NULL;
  IG_TRY(ig_want_paths(c, 1, 1));
  if (out && *out)
    IG_GOTO(ig_strdup(out, &path));
  else
    IG_GOTO(ig_path_join(&path, ig_config_path(c->config, 0), "report.html"));
  IG_GOTO(ig_report_write(ig_config_path(c->config, 0), path));
  result = json_pack("{s:o}", "path", ig_json_text(path));
  status = ig_answer(c, result, NULL);
done:
  json_decref(result);
  ig_free(path);
  return status;
}
