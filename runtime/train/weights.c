// Weights in and out of a model's flat buffers. Rule: every tensor is checked for presence, shape and dtype before the
// first one is read, and every value for being finite.
#include "runtime/train/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/text.h"
#include "runtime/train/weights_source.h"

// One parameter and where it comes from.
typedef struct match {
  const ig_weight_entry *entry;  // NULL: stays as it is (the head)
  ig_weight_form form;
} match;

typedef struct loading {
  const ig_model *model;
  const ig_params *params;
  const ig_weights_options *options;
  ig_weight_source source;
  ig_weight_naming naming;
  match *matches;  // [params->n]
  bool head_replaced;
} loading;

static bool in_head(const loading *l, const ig_param *p) {
  return l->model->head && *l->model->head && !strncmp(p->name, l->model->head, strlen(l->model->head));
}

// Parts of a text model that stand and fall as a whole.
static const char *const parts[] = {"classifier.", "cls.", "bert.pooler."};

static const char *part_of(const ig_param *p) {
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (!strncmp(p->name, parts[i], strlen(parts[i])))
      return parts[i];
  return NULL;
}

// Nothing of the parameter's part is in the file.
static bool lacks_part(const loading *l, const ig_param *p) {
  const char *part = l->model->build_text ? part_of(p) : NULL;
  for (size_t i = 0; part && i < l->params->n; i++)
    if (part_of(l->params->items[i]) == part && l->matches[i].entry)
      return false;
  return part != NULL;
}

static const char *dims_text(int n, const int64_t *dims, char text[160]) {
  size_t used = (size_t)snprintf(text, 160, "[");
  for (int i = 0; i < n && used < 120; i++)
    used += (size_t)snprintf(text + used, 160 - used, "%s%lld", i ? ", " : "", (long long)dims[i]);
  snprintf(text + used, 160 - used, "]");
  return text;
}

static size_t count_found(const loading *l, ig_weight_naming naming, size_t *n_named) {
  size_t found = 0;
  *n_named = 0;
  for (size_t i = 0; i < l->params->n; i++) {
    char name[IG_WEIGHT_NAME_BYTES];
    ig_weight_form form;
    if (!ig_weight_name(l->model, naming, l->params->items[i]->name, name, &form))
      continue;
    ++*n_named;
    found += ig_weight_source_find(&l->source, name) != NULL;
  }
  return found;
}

// The naming under which most parameters are found; the public one where none is better.
static void choose_naming(loading *l) {
  size_t best = 0;
  l->naming = (ig_weight_naming){"", 0};
  for (int prefix = 0; prefix < IG_WEIGHT_PREFIXES; prefix++)
    for (int convention = 0;; convention++) {
      const ig_weight_naming naming = {ig_weight_prefixes[prefix], convention};
      size_t n_named, found = count_found(l, naming, &n_named);
      if (!n_named)
        break;
      if (found > best) {
        best = found;
        l->naming = naming;
      }
    }
}

// The public shape as the file stores it.
static ig_shape stored_shape(const ig_shape *s, ig_weight_form form) {
  if ((form == IG_FORM_HWIO || form == IG_FORM_HWIO_BGR) && s->n == 4)
    return IG_SHAPE4(s->d[2], s->d[3], s->d[1], s->d[0]);
  if (form == IG_FORM_TRANSPOSED && s->n == 2)
    return IG_SHAPE2(s->d[1], s->d[0]);
  return *s;
}

static bool has_dims(const ig_weight_entry *e, const ig_shape *s) {
  return e->n_dims == s->n && (s->n == 0 || !memcmp(e->dims, s->d, sizeof *s->d * (size_t)s->n));
}

// Whether only the number of classes differs.
static bool other_classes(const ig_weight_entry *e, const ig_shape *want, ig_weight_form form) {
  const int axis = form == IG_FORM_TRANSPOSED && want->n == 2 ? 1 : 0;
  if (e->n_dims != want->n || want->n == 0)
    return false;
  for (int i = 0; i < want->n; i++)
    if (i != axis && e->dims[i] != want->d[i])
      return false;
  return true;
}

static ig_status check_shape(loading *l, const ig_param *p, match *m) {
  const ig_weight_entry *e = m->entry;
  const ig_shape want = stored_shape(&p->shape, m->form);
  char q[IG_QUOTE_BYTES], found[160], expected[160];
  ig_quote(q, e->name);
  if (!e->is_float)
    return ig_fail(IG_ERR_FORMAT, "%s: tensor %s has dtype %s; weights are F32, F64, F16 or BF16", l->source.path, q,
                   e->dtype);
  if (has_dims(e, &want))
    return IG_OK;
  dims_text(e->n_dims, e->dims, found);
  dims_text(want.n, want.d, expected);
  const ig_shape turned = want.n == 2   ? stored_shape(&want, IG_FORM_TRANSPOSED)
                          : want.n == 4 ? stored_shape(&want, IG_FORM_HWIO)
                                        : want;
  if (has_dims(e, &turned))
    return ig_fail(IG_ERR_MISMATCH, "%s: tensor %s is transposed: shape %s found, %s expected; store it in %s order",
                   l->source.path, q, found, expected,
                   m->form != IG_FORM_SAME ? "Keras's"
                   : want.n == 2           ? "[out, in]"
                                           : "[out, in, h, w]");
  if (in_head(l, p) && other_classes(e, &want, m->form)) {
    if (l->options->fresh_head) {
      m->entry = NULL;
      l->head_replaced = true;
      return IG_OK;
    }
    const int axis = m->form == IG_FORM_TRANSPOSED && want.n == 2 ? 1 : 0;
    return ig_fail(IG_ERR_MISMATCH,
                   "%s: its classifier (tensor %s, shape %s) has %lld %s, the model here has %lld (%s); start "
                   "with a fresh head: head=new",
                   l->source.path, q, found, (long long)e->dims[axis],
                   ig_plural((unsigned long long)e->dims[axis], "class", "classes"), (long long)want.d[axis], expected);
  }
  return ig_fail(IG_ERR_MISMATCH,
                 "%s: tensor %s: shape %s found, %s expected by model=%s; is this another model's file?",
                 l->source.path, q, found, expected, l->model->name);
}

// A decoder that is not tied has a bias of its own in Hugging Face's files, and what is named predictions.bias is then
// left over (as of Transformers 5; before, both were one tensor).
static const ig_weight_entry *bias_of_decoder(const loading *l, const char *bias) {
  static const char own[] = "predictions.bias";
  char name[IG_WEIGHT_NAME_BYTES + 16];
  bool untied = false;
  for (size_t i = 0; i < l->params->n && !untied; i++)
    untied = ig_ends_with(l->params->items[i]->name, "predictions.decoder.weight");
  if (!untied || !ig_ends_with(bias, own))
    return NULL;
  snprintf(name, sizeof name, "%.*spredictions.decoder.bias", (int)(strlen(bias) - strlen(own)), bias);
  return ig_weight_source_find(&l->source, name);
}

static ig_status find_all(loading *l) {
  size_t n_missing = 0;
  char missing[IG_WEIGHT_NAME_BYTES] = "";
  for (size_t i = 0; i < l->params->n; i++) {
    const ig_param *p = l->params->items[i];
    char name[IG_WEIGHT_NAME_BYTES];
    if (!ig_weight_name(l->model, l->naming, p->name, name, &l->matches[i].form))
      snprintf(name, sizeof name, "%s", p->name);
    const ig_weight_entry *bias = bias_of_decoder(l, name);
    l->matches[i].entry = bias ? bias : ig_weight_source_find(&l->source, name);
  }
  for (size_t i = 0; i < l->params->n; i++) {
    const ig_param *p = l->params->items[i];
    char name[IG_WEIGHT_NAME_BYTES];
    ig_weight_form form;
    if (l->matches[i].entry)
      continue;
    if (!ig_weight_name(l->model, l->naming, p->name, name, &form))
      snprintf(name, sizeof name, "%s", p->name);
    if ((l->options->fresh_head && in_head(l, p)) || (l->options->fresh_parts && lacks_part(l, p)))
      l->head_replaced = true;
    else if (n_missing++ == 0)
      snprintf(missing, sizeof missing, "%s", name);
  }
  if (n_missing) {
    char q[IG_QUOTE_BYTES], nearest[IG_NEAREST_BYTES], more[64] = "";
    if (n_missing > 1)
      snprintf(more, sizeof more, " (and %zu more of %zu)", n_missing - 1, l->params->n);
    return ig_fail(IG_ERR_MISMATCH, "%s: tensor %s%s is missing, model=%s needs it%s%s", l->source.path,
                   ig_quote(q, missing), more, l->model->name,
                   ig_nearest(nearest, missing, l->source.names, l->source.n),
                   strstr(missing, "seq_relationship") ? "; pairs=none learns from masked words alone" : "");
  }
  for (size_t i = 0; i < l->params->n && l->options->other_head; i++)
    if (in_head(l, l->params->items[i])) {
      l->matches[i].entry = NULL;
      l->head_replaced = true;
    }
  for (size_t i = 0; i < l->params->n; i++)
    if (l->matches[i].entry)
      IG_TRY(check_shape(l, l->params->items[i], &l->matches[i]));
  // A head is replaced whole: half of another classifier is worth nothing.
  bool half = false;
  for (size_t i = 0; i < l->params->n; i++)
    half = half || (in_head(l, l->params->items[i]) && !l->matches[i].entry);
  for (size_t i = 0; i < l->params->n && half; i++)
    if (in_head(l, l->params->items[i]))
      l->matches[i].entry = NULL;
  return IG_OK;
}

// dst in public order from src in the file's.
static void to_public(const ig_shape *s, ig_weight_form form, const float *src, float *dst) {
  if (form == IG_FORM_TRANSPOSED) {
    for (int64_t o = 0; o < s->d[0]; o++)
      for (int64_t i = 0; i < s->d[1]; i++)
        dst[o * s->d[1] + i] = src[i * s->d[0] + o];
    return;
  }
  const int64_t K = s->d[0], C = s->d[1], taps = s->d[2] * s->d[3];
  for (int64_t k = 0; k < K; k++)
    for (int64_t c = 0; c < C; c++)
      for (int64_t t = 0; t < taps; t++)
        dst[(k * C + c) * taps + t] = src[(t * C + (form == IG_FORM_HWIO_BGR ? C - 1 - c : c)) * K + k];
}

static ig_status check_values(const loading *l, const ig_param *p, const ig_weight_entry *e, const float *v) {
  const bool variance = p->kind == IG_PARAM_STATE && ig_ends_with(p->name, ".running_var");
  char q[IG_QUOTE_BYTES];
  for (int64_t i = 0; i < e->n; i++) {
    if (!isfinite(v[i]))
      return ig_fail(IG_ERR_FORMAT,
                     "%s: tensor %s: element %lld is %s%s; weights must be finite (did the training that wrote them "
                     "diverge?)",
                     l->source.path, ig_quote(q, e->name), (long long)i, isnan(v[i]) ? "NaN" : "infinite",
                     e->type == IG_F64 ? " in fp32" : "");
    if (variance && v[i] < 0)
      return ig_fail(IG_ERR_FORMAT, "%s: tensor %s: element %lld is %g; a variance is never negative", l->source.path,
                     ig_quote(q, e->name), (long long)i, (double)v[i]);
  }
  return IG_OK;
}

static ig_status read_one(const loading *l, const ig_param *p, const match *m, float *dst) {
  float *turned = NULL;
  ig_status status = IG_OK;
  const bool plain = m->form == IG_FORM_SAME || p->shape.n != (m->form == IG_FORM_TRANSPOSED ? 2 : 4);
  if (!plain)
    IG_GOTO(ig_alloc_array((size_t)m->entry->n, sizeof *turned, "tensor to turn", &turned));
  IG_GOTO(ig_weight_source_read(&l->source, m->entry, plain ? dst : turned));
  IG_GOTO(check_values(l, p, m->entry, plain ? dst : turned));
  if (!plain)
    to_public(&p->shape, m->form, turned, dst);
done:
  ig_free(turned);
  return status;
}

static int by_address(const void *a, const void *b) {
  const ig_weight_entry *x = *(const ig_weight_entry *const *)a, *y = *(const ig_weight_entry *const *)b;
  return (x > y) - (x < y);
}

// A tied decoder written out: the same bytes as the word embeddings, and its bias.
static bool is_tied_copy(const loading *l, const ig_weight_entry *e) {
  if (!l->model->build_text)
    return false;
  const bool weight = ig_ends_with(e->name, "predictions.decoder.weight");
  for (size_t i = 0; i < l->params->n; i++) {
    const char *name = l->params->items[i]->name;
    if (l->matches[i].entry && ig_ends_with(name, weight ? "word_embeddings.weight" : "predictions.bias"))
      return (weight || ig_ends_with(e->name, "predictions.decoder.bias")) &&
             ig_weight_source_equal(&l->source, e, l->matches[i].entry);
  }
  return false;
}

// Counts and names what was not used; torch's counters of batches are no weights and pass without a word.
static ig_status report_extra(const loading *l, int *n_extra) {
  const ig_weight_entry **used = NULL;
  ig_text names = {0};
  size_t n_used = 0;
  ig_status status = IG_OK;
  *n_extra = 0;
  IG_GOTO(ig_alloc_array(l->params->n, sizeof *used, "table of weights", &used));
  for (size_t i = 0; i < l->params->n; i++)
    if (l->matches[i].entry)
      used[n_used++] = l->matches[i].entry;
  if (n_used)
    qsort(used, n_used, sizeof *used, by_address);
  for (size_t i = 0; i < l->source.n; i++) {
    const ig_weight_entry *e = &l->source.items[i];
    const char *name = e->name;
    const size_t skip = strlen(l->naming.prefix);
    if (!strncmp(name, l->naming.prefix, skip))
      name += skip;
    if ((n_used && bsearch(&e, used, n_used, sizeof *used, by_address)) || ig_ends_with(name, "num_batches_tracked") ||
        ig_ends_with(name, "embeddings.position_ids") || is_tied_copy(l, e) || bias_of_decoder(l, e->name) ||
        (l->head_replaced && !strncmp(name, l->model->head, strlen(l->model->head))))
      continue;
    char q[IG_QUOTE_BYTES];
    if (l->options->each)
      l->options->each(l->options->each_user, e->name, NULL);
    if (++*n_extra <= 5)
      IG_GOTO(ig_text_addf(&names, "%s%s", names.n ? ", " : "", ig_quote(q, e->name)));
  }
  if (*n_extra && l->options->warn) {
    if (*n_extra > 5)
      IG_GOTO(ig_text_addf(&names, ", ..."));
    char *line = NULL;
    IG_GOTO(ig_asprintf(&line, "%s: %d %s not used by model=%s: %s", l->source.path, *n_extra,
                        ig_plural((unsigned)*n_extra, "tensor is", "tensors are"), l->model->name, names.data));
    l->options->warn(l->options->warn_user, line);
    ig_free(line);
  }
done:
  ig_free(used);
  ig_free(names.data);
  return status;
}

ig_status ig_weights_load(const char *path, const ig_model *model, const ig_params *params,
                          float *const buffers[IG_N_PARAM_KINDS], const ig_weights_options *options,
                          ig_weights_report *report) {
  static const ig_weights_options none = {.size = sizeof none};
  loading l = {.model = model, .params = params, .options = options ? options : &none};
  ig_weights_report counts = {0};
  ig_status status = IG_OK;
  if (!model) {
    ig_weights_info info;
    IG_TRY(ig_weights_info_read(path, &info));
    status = info.model ? ig_model_find(info.model, &l.model)
                        : ig_fail(IG_ERR_USAGE, "%s does not say which model it is of; add model=...", info.path);
    ig_weights_info_fini(&info);
    if (status != IG_OK)
      return status;
  }
  IG_GOTO(ig_weight_source_open(path, l.options->ema, &l.source));
  if (l.source.ckpt && l.options->ema && !l.source.has_ema && l.options->warn)
    l.options->warn(l.options->warn_user, "the checkpoint has no averaged weights; its weights as they are are taken");
  IG_GOTO(ig_alloc_array(params->n, sizeof *l.matches, "table of weights", &l.matches));
  choose_naming(&l);
  IG_GOTO(find_all(&l));
  for (size_t i = 0; i < params->n; i++) {
    const ig_param *p = params->items[i];
    const match *m = &l.matches[i];
    if (l.options->each)
      l.options->each(l.options->each_user, m->entry ? m->entry->name : NULL, p->name);
    if (!m->entry)
      continue;
    IG_GOTO(read_one(&l, p, m, buffers[p->kind] + p->offset));
    counts.loaded++;
    counts.converted += !m->entry->is_f32 || m->form != IG_FORM_SAME;
  }
  counts.head_replaced = l.head_replaced;
  IG_GOTO(report_extra(&l, &counts.extra));
  if (report)
    *report = counts;
done:
  ig_free(l.matches);
  ig_weight_source_close(&l.source);
  return status;
}
