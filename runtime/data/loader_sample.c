// One sample: reading, decoding, geometry, draws; and the mix of a batch. Rule: every draw is keyed by (seed, epoch,
// sample, purpose), so that threads, resumes and other augmentations change none of them.
#include <errno.h>
#include <math.h>
#include <string.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/base/rng.h"
#include "runtime/data/augment_geom.h"
#include "runtime/data/loader_internal.h"

_Static_assert(AUG_N == IG_AUG_FIELDS, "a row of ig_batch.aug");

#define MAX_FILE_BYTES ((uint64_t)1 << 30)

ig_status ig_cache_init(ig_picture_cache *c, size_t n, uint64_t budget) {
  c->n = n;
  c->budget = budget;
  atomic_init(&c->used, 0);
  return budget ? ig_alloc_array(n, sizeof *c->slots, "the picture cache", &c->slots) : IG_OK;
}

void ig_cache_fini(ig_picture_cache *c) {
  for (size_t i = 0; c->slots && i < c->n; i++)
    ig_free(atomic_load_explicit(&c->slots[i], memory_order_relaxed));
  ig_free((void *)c->slots);
  c->slots = NULL;
}

const ig_cached *ig_cache_get(ig_picture_cache *c, size_t sample) {
  return c->slots ? atomic_load_explicit(&c->slots[sample], memory_order_acquire) : NULL;
}

void ig_cache_put(ig_picture_cache *c, size_t sample, const uint8_t *data, int w, int h) {
  size_t pixels = (size_t)w * (size_t)h * 3, bytes = sizeof(ig_cached) + pixels;
  if (!c->slots || atomic_load_explicit(&c->used, memory_order_relaxed) + bytes > c->budget)
    return;
  if (atomic_fetch_add(&c->used, bytes) + bytes > c->budget) {
    atomic_fetch_sub(&c->used, bytes);
    return;
  }
  ig_cached *copy, *none = NULL;
  if (ig_alloc(bytes, "a cached picture", &copy) == IG_OK) {
    copy->w = w;
    copy->h = h;
    memcpy(copy->data, data, pixels);
    if (atomic_compare_exchange_strong_explicit(&c->slots[sample], &none, copy, memory_order_release,
                                                memory_order_relaxed))
      return;
    ig_free(copy);
  }
  atomic_fetch_sub(&c->used, bytes);
}

void ig_sample_work_fini(ig_sample_work *w) {
  ig_image_fini(&w->image);
  ig_image_fini(&w->rotated);
  ig_resize_fini(&w->resize);
}

void ig_sample_neutral(float *aug) {
  memset(aug, 0, AUG_N * sizeof *aug);
  aug[AUG_BRIGHTNESS] = aug[AUG_CONTRAST] = aug[AUG_SATURATION] = aug[AUG_LAMBDA] = 1;
}

static ig_rng rng_of(const ig_loader_options *o, uint64_t epoch, const char *purpose, uint64_t sample) {
  return ig_rng_make(ig_hash_mix(o->seed, epoch), ig_hash_str(purpose), sample);
}

static double between(ig_rng *r, double low, double high) { return low + (high - low) * (double)ig_rng_uniform(r); }

static bool crops(const ig_augment *a) { return a->crop_scale_max > 0 && a->crop_scale_min < 1; }

// Rectangle of a share of the area and a ratio w / h drawn evenly in logarithms, wholly inside of w x h; false where
// ten draws do not fit (Inception's crop).
static bool draw_box(ig_rng *r, int w, int h, double share_min, double share_max, double ratio_min, double ratio_max,
                     ig_rect *box) {
  for (int attempt = 0; attempt < 10; attempt++) {
    double area = between(r, share_min, share_max) * (double)w * (double)h;
    double ratio = exp(between(r, log(ratio_min), log(ratio_max)));
    double bw = floor(sqrt(area * ratio) + 0.5), bh = floor(sqrt(area / ratio) + 0.5);
    if (bw < 1 || bh < 1 || bw > w || bh > h)
      continue;
    box->w = (int)bw;
    box->h = (int)bh;
    box->x = (int)ig_rng_below(r, (uint32_t)(w - box->w) + 1);
    box->y = (int)ig_rng_below(r, (uint32_t)(h - box->h) + 1);
    return true;
  }
  return false;
}

// The crop of a picture, of the shape that evaluation sees or up to a third wider or higher: that is the whole picture,
// whatever its shape, or a square of it. Where none fits, the largest centred one of a permitted ratio.
static ig_rect draw_crop(ig_rng *r, const ig_loader_options *o, int w, int h) {
  const double shape = o->eval_crop_ratio > 0 ? 1 : (double)w / h, least = shape * 3 / 4, most = shape * 4 / 3;
  ig_rect box;
  if (draw_box(r, w, h, o->augment.crop_scale_min, o->augment.crop_scale_max, least, most, &box))
    return box;
  box = (ig_rect){0, 0, w, h};
  if ((double)w < least * (double)h)
    box.h = (int)fmin((double)h, floor((double)w / least + 0.5));
  else if ((double)w > (double)h * most)
    box.w = (int)fmin((double)w, floor((double)h * most + 0.5));
  box.x = (w - box.w) / 2;
  box.y = (h - box.h) / 2;
  return box;
}

// Flips, colours and the erased rectangle: the op of the graph applies them.
static void draw_row(const ig_loader_options *o, uint64_t epoch, uint64_t sample, float *aug) {
  const ig_augment *a = &o->augment;
  ig_rng r = rng_of(o, epoch, "flip", sample);
  uint32_t coins = ig_rng_u32(&r);
  aug[AUG_TRANSPOSE] = a->transpose && (coins & 1);
  aug[AUG_HFLIP] = a->flip && (coins & 2);
  aug[AUG_VFLIP] = a->vflip && (coins & 4);
  if (a->jitter > 0) {
    r = rng_of(o, epoch, "jitter", sample);
    for (int k = AUG_BRIGHTNESS; k <= AUG_SATURATION; k++)
      aug[k] = (float)fmax(0, between(&r, 1 - a->jitter, 1 + a->jitter));
  }
  r = rng_of(o, epoch, "erase", sample);
  ig_rect box;
  if (a->erase > 0 && (double)ig_rng_uniform(&r) < a->erase &&
      draw_box(&r, o->image_size, o->image_size, 0.02, 0.2, 0.3, 3.3, &box)) {
    aug[AUG_ERASE_X0] = (float)box.x;
    aug[AUG_ERASE_Y0] = (float)box.y;
    aug[AUG_ERASE_X1] = (float)(box.x + box.w);
    aug[AUG_ERASE_Y1] = (float)(box.y + box.h);
  }
}

// Planes R, G, B of 32 x 32 become interleaved.
static ig_status read_record(const ig_sample_source *s, const ig_sample *sample, ig_image *out) {
  uint8_t planes[3072];
  size_t at = 0, got = 0, labels = s->options->data->kind == IG_DATASET_CIFAR100 ? 2 : 1;
  while (at + 1 < s->n_paths && s->paths[at] != sample->path)
    at++;
  while (got < sizeof planes) {
    off_t offset = (off_t)((uint64_t)sample->record * (sizeof planes + labels) + labels + got);
    ssize_t n = ig_fileops_get()->pread(s->fds[at], planes + got, sizeof planes - got, offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return ig_fail(IG_ERR_IO, "cannot read record %lld of %s: %s", (long long)sample->record, sample->path,
                     n < 0 ? strerror(errno) : "the file has become shorter");
    got += (size_t)n;
  }
  IG_TRY(ig_image_reserve(out, 32, 32));
  for (size_t i = 0; i < 1024; i++)
    for (size_t c = 0; c < 3; c++)
      out->data[3 * i + c] = planes[1024 * c + i];
  return IG_OK;
}

static ig_status read_picture(const char *path, const ig_image_options *options, ig_image *out) {
  uint8_t *bytes;
  size_t n;
  IG_TRY(ig_file_read(path, MAX_FILE_BYTES, &bytes, &n));
  ig_status status = ig_image_decode(bytes, n, options, out);
  ig_free(bytes);
  return status;
}

// Shorter side that a training crop of the first drawn share, or the centre crop, needs at least; a JPEG may be decoded
// that small.
static int reduced_side(const ig_loader_options *o, ig_rng crop) {
  double need = o->image_size;
  if (crops(&o->augment))
    need *= sqrt(4.0 / 3 / fmax(1e-3, between(&crop, o->augment.crop_scale_min, o->augment.crop_scale_max)));
  else if (o->eval_crop_ratio > 0)
    need = floor(need / o->eval_crop_ratio + 0.5);
  return (int)ceil(need);
}

static ig_status eval_geometry(ig_resize *r, const uint8_t *src, int w, int h, int size, double ratio,
                               uint8_t *pixels) {
  if (ratio > 0) {
    double shorter = floor(size / ratio + 0.5);
    return ig_resize_eval(r, src, w, h, shorter < size ? size : (int)shorter, size, pixels);
  }
  return ig_resize_run(r, src, w, h, (ig_rect){0, 0, w, h}, size, size, NULL, pixels, (size_t)size * 3);
}

ig_status ig_sample_make(const ig_sample_source *s, ig_sample_work *work, uint64_t epoch, size_t sample,
                         uint8_t *pixels, float *aug) {
  const ig_loader_options *o = s->options;
  const ig_sample *item = &o->data->samples[sample];
  size_t size = (size_t)o->image_size;
  ig_rng crop = rng_of(o, epoch, "crop", sample);
  ig_sample_neutral(aug);
  const ig_cached *cached = ig_cache_get(s->cache, sample);
  if (cached && !o->train) {
    memcpy(pixels, cached->data, size * size * 3);
    return IG_OK;
  }
  const uint8_t *src;
  int w, h;
  if (cached) {
    src = cached->data, w = cached->w, h = cached->h;
  } else {
    ig_image_options decode = ig_image_options_default();
    // Only without a cache, whose pictures must not depend on which crop came first.
    if (o->train && !s->cache->slots)
      decode.scale_hint = reduced_side(o, crop);
    IG_TRY(item->record >= 0 ? read_record(s, item, &work->image) : read_picture(item->path, &decode, &work->image));
    src = work->image.data, w = work->image.w, h = work->image.h;
    if (o->train)
      ig_cache_put(s->cache, sample, src, w, h);
  }
  if (!o->train) {
    IG_TRY(eval_geometry(&work->resize, src, w, h, o->image_size, o->eval_crop_ratio, pixels));
    ig_cache_put(s->cache, sample, pixels, o->image_size, o->image_size);
    return IG_OK;
  }
  draw_row(o, epoch, sample, aug);
  if (o->augment.rotate > 0) {
    ig_rng r = rng_of(o, epoch, "rotate", sample);
    IG_TRY(ig_image_reserve(&work->rotated, w, h));
    ig_geom_rotate(src, w, h, between(&r, -o->augment.rotate, o->augment.rotate), work->rotated.data);
    src = work->rotated.data;
  }
  if (!crops(&o->augment))
    return eval_geometry(&work->resize, src, w, h, o->image_size, o->eval_crop_ratio, pixels);
  return ig_resize_run(&work->resize, src, w, h, draw_crop(&crop, o, w, h), o->image_size, o->image_size, NULL, pixels,
                       size * 3);
}

// A row's own targets and its partner's, lam : 1 - lam. Rows of weight 0 keep zeros.
static void mix_targets(const ig_dataset *d, ig_batch *b, int rows) {
  size_t k = (size_t)d->n_classes;
  memset(b->targets, 0, (size_t)rows * k * sizeof *b->targets);
  for (size_t i = 0; i < (size_t)rows; i++) {
    const float *own = d->targets + b->samples[i] * k, *other = d->targets + b->samples[b->partner[i]] * k;
    for (size_t c = 0; c < k && b->weights[i] != 0; c++)
      b->targets[i * k + c] = b->lam[i] == 1 ? own[c] : b->lam[i] * own[c] + (1 - b->lam[i]) * other[c];
  }
}

static void mix(const ig_loader_options *o, uint64_t n_samples, ig_batch *b) {
  const ig_augment *a = &o->augment;
  for (int i = 0; i < o->batch; i++) {
    b->second_labels[i] = b->labels[i];
    b->lam[i] = 1;
    b->partner[i] = i;
  }
  if (!o->train || o->batch < 2 || (a->mixup <= 0 && a->cutmix <= 0))
    return;
  // One turn for the whole batch: each picture is the partner of exactly one other.
  ig_rng turn = ig_rng_make(o->seed, ig_hash_str("partner"), (uint64_t)b->position);
  int shift = 1 + (int)ig_rng_below(&turn, (uint32_t)o->batch - 1);
  for (int i = 0; i < o->batch; i++) {
    int other = (i + shift) % o->batch;
    if (b->weights[i] == 0 || b->weights[other] == 0)
      continue;
    float *row = b->aug + (size_t)i * AUG_N;
    ig_rng r = rng_of(o, (uint64_t)(b->position + i) / n_samples, "mix", b->samples[i]);
    bool cut = ig_rng_u32(&r) & 1;
    if (a->mixup <= 0 || a->cutmix <= 0)
      cut = a->cutmix > 0;
    double lam = (double)ig_rng_beta(&r, (float)(cut ? a->cutmix : a->mixup)), size = o->image_size;
    if (cut) {
      // Square root of the area a side, anywhere; what falls outside is cut off, and lambda follows what is left.
      double half = sqrt(1 - lam) * size / 2, cx = between(&r, 0, size), cy = between(&r, 0, size);
      double x0 = fmax(0, floor(cx - half + 0.5)), x1 = fmin(size, floor(cx + half + 0.5));
      double y0 = fmax(0, floor(cy - half + 0.5)), y1 = fmin(size, floor(cy + half + 0.5));
      row[AUG_CUT_X0] = (float)x0, row[AUG_CUT_Y0] = (float)y0;
      row[AUG_CUT_X1] = (float)x1, row[AUG_CUT_Y1] = (float)y1;
      lam = 1 - (x1 - x0) * (y1 - y0) / (size * size);
    }
    row[AUG_MIX_MODE] = cut ? MIX_CUTMIX : MIX_MIXUP;
    row[AUG_LAMBDA] = b->lam[i] = (float)lam;
    b->partner[i] = other;
    b->second_labels[i] = b->labels[other];
  }
}

void ig_batch_mix(const ig_loader_options *o, uint64_t n_samples, ig_batch *b) {
  mix(o, n_samples, b);
  if (b->targets)
    mix_targets(o->data, b, o->batch);
}

ig_status ig_picture_load(const char *path, int image_size, double eval_crop_ratio, uint8_t *pixels) {
  ig_sample_work work = {0};
  ig_status status = read_picture(path, NULL, &work.image);
  if (status == IG_OK)
    status =
        eval_geometry(&work.resize, work.image.data, work.image.w, work.image.h, image_size, eval_crop_ratio, pixels);
  ig_sample_work_fini(&work);
  return status;
}
