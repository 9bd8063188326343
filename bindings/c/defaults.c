// Defaults by model and data. Rule: all numbers that are a matter of taste stand here, in one place; a key that anyone
// has set stays as it is.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bindings/c/options.h"

// What is chosen by what (N: training pictures; docs/performance.md tells what these numbers reach):
//   image_size     the size of the weights where there are some; 32 for the models of 32 x 32; else 96 below 10,000
//                  pictures (smaller ones are enlarged: the first layers take a quarter of the side, and what is left
//                  of 64 pixels is too coarse), else the pictures' own shorter side as a multiple of 32, 64 to the
//                  model's size
//   batch          16 below 500 pictures, 32 below 10,000, 64 below 40,000, else 128; at most a quarter of N
//   epochs         fresh weights: as many as show 1.3 G pixels, in fp32, which takes two to four times as long,
//                  0.55 G, 20 to 300; given weights: 30,000 pictures, 5 to 30
//   optimizer      SGD with Nesterov momentum 0.9; lr 0.4 a 256 pictures (fresh; VGG 0.1), 0.02 (given), linear in
//   batch;
//                  regress: AdamW, lr 1e-3 a 256 pictures (given 2e-4), by its root (squares are too steep for SGD's
//                  rate)
//   weight decay   5e-4 (fresh), 1e-4 (given)
//   schedule       cosine to 0 after a warm-up of 10 % of the steps
//   augmentation   standard; light for given weights with fewer than 20 pictures a class; regress: nothing that moves
//                  or scales the picture, as size and place may be what is measured. standard and strong also turn
//                  pictures over and on their side (vflip, transpose), but not those of at most 48 pixels and not for
//                  given weights, which have learned which way is up: a defect has no direction more often than not,
//                  and where it has one, flip=0 vflip=0 transpose=0 says so (train says that it turns them). No
//                  transpose of oblong pictures (longer side over 4/3 of the shorter): as the model sees them whole,
//                  in a square, rows are stretched and columns are not
//   label smoothing 0.1 (classify)
//   dropout        0; VGG 0.5, as published
//   ema            0.998 (it ramps up from the first step); off below 100 steps
//
// Texts:
//   batch          32
//   epochs         3 to 5: as many as show 50,000 texts; below width 384 four times that, as such models have
//                  learned little before and are quick; fresh weights: 20; pre-training: 10
//   optimizer      AdamW, decay 0.01; given weights: lr 3e-4 at width 384, falling with its square (7.5e-5 at 768) and,
//                  beyond 1500 steps (four times that below width 384), with the root of their number;
//                  fresh ones and pre-training: 1e-3 at width 256, falling with it
//   schedule       linear to 0 after a warm-up of 10 % of the steps; gradients clipped at norm 1
//   ema            given weights: 0.999, which ramps up (mostly the mean of the last tenth of the steps); off below 100
//                  steps, for fresh weights and in pre-training

static ig_status set(ig_config *c, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
static ig_status set(ig_config *c, const char *name, const char *format, ...) {
  char text[64];
  va_list args;
  if (ig_config_has_value(c, name))
    return IG_OK;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return ig_config_set(c, name, text, IG_FROM_PRESET, "default by model and data");
}

static int64_t between(int64_t low, int64_t x, int64_t high) { return x < low ? low : x > high ? high : x; }

static int image_size(const ig_facts *f) {
  int size = f->model->default_size;
  if (f->pretrained || size <= 32 || f->typical_side <= 0)
    return size;
  if (f->n_train < 10000)
    return size < 96 ? size : 96;
  return (int)between(64, (f->typical_side + 16) / 32 * 32, size);
}

static ig_status set_augment(ig_config *c, const ig_facts *f, bool small_pictures) {
  static const struct {
    const char *crop, *crop_small, *jitter, *mixup, *cutmix, *erase;
    int flip, turn;
  } levels[] = {
      // none, light, standard, strong: the order of the key's words.
      {"1,1", "1,1", "0", "0", "0", "0", 0, 0},
      {"0.8,1", "0.8,1", "0", "0", "0", "0", 1, 0},
      {"0.8,1", "0.6,1", "0.2", "0", "0", "0", 1, 1},
      {"0.2,1", "0.5,1", "0.4", "0.2", "1", "0.25", 1, 1},
  };
  const bool still = f->task == IG_TASK_REGRESS;
  int level = ig_config_choice(c, "augment");
  if (still) {
    IG_TRY(set(c, "crop_scale", "1,1"));
    IG_TRY(set(c, "flip", "0"));
    IG_TRY(set(c, "mixup", "0"));
    IG_TRY(set(c, "cutmix", "0"));
  }
  IG_TRY(set(c, "crop_scale", "%s", small_pictures ? levels[level].crop_small : levels[level].crop));
  IG_TRY(set(c, "jitter", "%s", levels[level].jitter));
  IG_TRY(set(c, "mixup", "%s", levels[level].mixup));
  IG_TRY(set(c, "cutmix", "%s", levels[level].cutmix));
  IG_TRY(set(c, "erase", "%s", levels[level].erase));
  const int turn = levels[level].turn && !small_pictures && !f->pretrained && !still;
  IG_TRY(set(c, "vflip", "%d", turn));
  IG_TRY(set(c, "transpose", "%d", turn && !(f->oblong && ig_config_float(c, "crop_ratio") == 0)));
  return set(c, "flip", "%d", levels[level].flip);
}

// Rate and decay of the optimizers, for fresh and for given weights, at a batch of `batch`.
static ig_status set_optimizer(ig_config *c, bool given, bool regress, bool vgg, int64_t batch) {
  IG_TRY(set(c, "optimizer", regress ? "adamw" : "sgd"));
  bool sgd = ig_config_is(c, "optimizer", "sgd"), lars = ig_config_is(c, "optimizer", "lars");
  bool rms = ig_config_is(c, "optimizer", "rmsprop"), lamb = ig_config_is(c, "optimizer", "lamb");
  double share = (double)batch / 256;
  if (sgd || lars) {
    IG_TRY(set(c, "lr", "%.6g", (lars ? 1.0 : given ? 0.02 : vgg ? 0.1 : 0.4) * share));
    IG_TRY(set(c, "weight_decay", given ? "1e-4" : "5e-4"));
    IG_TRY(set(c, "momentum", "0.9"));
    IG_TRY(set(c, "nesterov", sgd ? "1" : "0"));
  } else {
    IG_TRY(set(c, "lr", "%.6g", (lamb ? 5e-3 : given ? 2e-4 : 1e-3) * sqrt(share)));
    IG_TRY(set(c, "weight_decay", ig_config_is(c, "optimizer", "adamw") || lamb ? "0.02" : "1e-4"));
    IG_TRY(set(c, "momentum", rms ? "0.9" : "0"));
    IG_TRY(set(c, "nesterov", "0"));
  }
  return IG_OK;
}

static ig_status set_text_defaults(ig_config *c, const ig_facts *f) {
  const int64_t n = f->n_train > 0 ? f->n_train : 1;
  const bool mlm = f->task == IG_TASK_MLM, tuning = f->pretrained && !mlm;
  const double w = f->width;
  const int64_t more = w < 384 ? 4 : 1;
  double lr = tuning ? fmin(5e-4, 3e-4 * 384 * 384 / (w * w)) : 1e-3 * fmin(1, 256 / w);
  IG_TRY(set(c, "batch", "%lld", (long long)between(1, n / 4, 32)));
  if (!ig_config_has_value(c, "steps"))
    IG_TRY(set(c, "epochs", "%lld", (long long)(mlm ? 10 : tuning ? between(3, more * 50000 / n, more * 5) : 20)));
  const double steps = ig_config_has_value(c, "steps")
                           ? (double)ig_config_int(c, "steps")
                           : (double)(ig_config_int(c, "epochs") * n) / (double)ig_config_int(c, "batch");
  if (tuning)
    lr *= fmin(1, sqrt((double)more * 1500 / steps));
  IG_TRY(set(c, "optimizer", "adamw"));
  IG_TRY(set(c, "lr", "%.6g", lr));
  IG_TRY(set(c, "weight_decay", "0.01"));
  IG_TRY(set(c, "momentum", "0"));
  IG_TRY(set(c, "nesterov", "0"));
  IG_TRY(set(c, "schedule", "linear"));
  IG_TRY(set(c, "warmup", "0.1"));
  IG_TRY(set(c, "clip", "1"));
  IG_TRY(set(c, "label_smoothing", "0"));
  IG_TRY(set(c, "ema", tuning && steps >= 100 ? "0.999" : "0"));
  if (ig_config_known(c, "save_every"))
    IG_TRY(set(c, "save_every", "5m"));
  return IG_OK;
}

ig_status ig_set_defaults(ig_config *c, const ig_facts *f) {
  bool regress = f->task == IG_TASK_REGRESS;
  IG_TRY(set(c, "task", "%s", ig_task_name(f->task)));
  IG_TRY(set(c, "loss", "%s", ig_task_loss(f->task)));
  if (ig_config_known(c, "monitor"))
    IG_TRY(set(c, "monitor", "%s", ig_task_monitor(f->task)));
  if (f->width > 0)
    return set_text_defaults(c, f);
  const bool vgg = !strcmp(f->model->family, "vgg");
  IG_TRY(set(c, "dropout", vgg ? "0.5" : "0"));
  int64_t n = f->n_train > 0 ? f->n_train : 1, quarter = 1;
  while (quarter * 8 <= n)
    quarter *= 2;
  IG_TRY(set(c, "image_size", "%d", image_size(f)));
  int64_t batch = n < 500 ? 16 : n < 10000 ? 32 : n < 40000 ? 64 : 128;
  IG_TRY(set(c, "batch", "%lld", (long long)(batch < quarter ? batch : quarter)));
  batch = ig_config_int(c, "batch");
  int64_t pixels = ig_config_int(c, "image_size") * ig_config_int(c, "image_size");
  const int64_t shown = f->in_16_bits ? 1300000000 : 550000000;
  if (!ig_config_has_value(c, "steps"))
    IG_TRY(set(c, "epochs", "%lld",
               (long long)(f->pretrained ? between(5, 30000 / n, 30) : between(20, shown / pixels / n, 300))));
  int64_t steps = ig_config_has_value(c, "steps") ? ig_config_int(c, "steps")
                                                  : (ig_config_int(c, "epochs") * n + batch - 1) / batch;
  IG_TRY(set_optimizer(c, f->pretrained, regress, vgg, batch));
  IG_TRY(set(c, "schedule", "cosine"));
  IG_TRY(set(c, "warmup", "0.1"));
  IG_TRY(set(c, "clip", "0"));
  bool scarce = f->task == IG_TASK_CLASSIFY && f->n_classes > 0 && n / f->n_classes < 20;
  IG_TRY(set(c, "augment", f->pretrained && scarce ? "light" : "standard"));
  IG_TRY(set(c, "crop_ratio", "0"));
  IG_TRY(set_augment(c, f, ig_config_int(c, "image_size") <= 48));
  IG_TRY(set(c, "label_smoothing", f->task == IG_TASK_CLASSIFY ? "0.1" : "0"));
  IG_TRY(set(c, "ema", steps >= 100 ? "0.998" : "0"));
  if (ig_config_known(c, "save_every"))
    IG_TRY(set(c, "save_every", "5m"));
  return IG_OK;
}
