// Specification of a step for rivals; see step_spec.h.
#include "bench/step_spec.h"

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

const char *ig_step_script(const ig_stepper *s) { return s->texts ? "pytorch_text_step.py" : "pytorch_step.py"; }

static ig_status write_file(const char *folder, const char *name, const void *data, size_t n, json_t *spec) {
  char *path;
  IG_TRY(ig_path_join(&path, folder, name));
  ig_status status = ig_file_write_atomic(path, data, n);
  json_object_set_new(spec, name, json_string(path));
  ig_free(path);
  return status;
}

static ig_status add_pictures(const ig_stepper *s, const char *folder, json_t *spec) {
  const ig_model *m = s->model;
  json_object_set_new(spec, "image_size", json_integer(s->image_size));
  json_object_set_new(spec, "mean", json_pack("[f,f,f]", (double)m->mean[0], (double)m->mean[1], (double)m->mean[2]));
  json_object_set_new(spec, "std", json_pack("[f,f,f]", (double)m->std[0], (double)m->std[1], (double)m->std[2]));
  IG_TRY(write_file(folder, "pictures", s->pictures, s->pictures_bytes, spec));
  return write_file(folder, "labels", s->labels, (size_t)s->batch * sizeof *s->labels, spec);
}

static ig_status add_texts(const ig_stepper *s, const char *folder, json_t *spec) {
  const ig_texts *t = s->texts;
  const ig_packed *p = &t->packed;
  const struct {
    const char *name;
    const int32_t *data;
    int64_t n;
  } files[] = {{"ids", p->ids, p->n_tokens},
               {"types", p->types, p->n_tokens},
               {"cu_seqlens", p->cu_seqlens, s->batch + 1},
               {"labels", t->labels, s->batch},
               {"masked", p->masked, p->n_masked},
               {"masked_labels", p->masked_labels, p->n_masked}};
  json_t *config =
      ig_bert_config_json(&s->bert.spec, t->o.mlm ? "BertForPreTraining" : "BertForSequenceClassification", NULL, NULL);
  if (!config)
    return ig_no_json();
  json_object_set_new(config, "num_labels", json_integer(s->classes));
  json_object_set_new(spec, "config", config);
  json_object_set_new(spec, "task", json_string(t->o.mlm ? "mlm" : "classify"));
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    if (files[i].data)
      IG_TRY(write_file(folder, files[i].name, files[i].data, (size_t)files[i].n * sizeof(int32_t), spec));
  return IG_OK;
}

ig_status ig_step_spec(const ig_stepper *s, const char *folder, json_t **out) {
  const ig_optimizer_options *o = &s->optimizer;
  char *weights = NULL;
  ig_status status = IG_OK;
  *out = NULL;
  const char *device = s->session->options.device;
  const bool gpu = s->session->device->caps.kind == IG_DEVICE_CUDA;
  json_t *spec =
      json_pack("{s:s, s:s, s:s, s:i, s:i, s:s, s:i, s:f, s:f, s:f, s:[f,f], s:f}", "model", s->model->name, "device",
                gpu ? device : "cpu", "mode", s->train ? "train" : "infer", "batch", s->batch, "classes", s->classes,
                "precision", ig_bench_precision(&s->session->device->caps, s->session->compute), "threads",
                gpu ? ig_cpu_threads() : s->session->device->caps.threads, "lr", s->lr, "momentum", o->momentum,
                "weight_decay", o->weight_decay, "betas", o->beta1, o->beta2, "eps", o->eps);
  if (!spec)
    return ig_no_json();
  IG_GOTO(ig_path_join(&weights, folder, "weights.safetensors"));
  IG_GOTO(ig_weights_save(weights, &s->session->params, (const float *const *)s->session->buffers,
                          &(ig_weights_info){.model = (char *)s->model->name}, 0));
  json_object_set_new(spec, "weights", json_string(weights));
  IG_GOTO(s->texts ? add_texts(s, folder, spec) : add_pictures(s, folder, spec));
  *out = spec;
  spec = NULL;
done:
  ig_free(weights);
  json_decref(spec);
  return status;
}
