// Direction of classes; see direction.h.
#include "runtime/data/direction.h"

#include <math.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/data/loader.h"

enum { SIDE = 48, PICTURES = 24, MOST_CLASSES = 64 };
// Numbers of a picture, each of one turn.
enum { ROWS_OVER_COLUMNS, LIGHT_X, EDGES_X, LIGHT_Y, EDGES_Y, N_NUMBERS };

static void measure(const uint8_t *rgb, double out[N_NUMBERS]) {
  double light[SIDE][SIDE], mean = 0, gx = 1e-9, gy = 1e-9, weight = 1e-9;
  for (int i = 0; i < SIDE * SIDE; i++) {
    light[i / SIDE][i % SIDE] = ((double)rgb[3 * i] + rgb[3 * i + 1] + rgb[3 * i + 2]) / 765;
    mean += light[i / SIDE][i % SIDE] / (SIDE * SIDE);
  }
  memset(out, 0, sizeof *out * N_NUMBERS);
  for (int y = 0; y < SIDE - 1; y++)
    for (int x = 0; x < SIDE - 1; x++) {
      const double dx = light[y][x + 1] - light[y][x], dy = light[y + 1][x] - light[y][x], edge = dx * dx + dy * dy;
      const double from_x = (x + 0.5) / (SIDE - 1) - 0.5, from_y = (y + 0.5) / (SIDE - 1) - 0.5;
      gx += dx * dx;
      gy += dy * dy;
      weight += edge;
      out[EDGES_X] += edge * from_x;
      out[EDGES_Y] += edge * from_y;
      out[LIGHT_X] += (light[y][x] - mean) * from_x;
      out[LIGHT_Y] += (light[y][x] - mean) * from_y;
    }
  out[ROWS_OVER_COLUMNS] = log(gx / gy);
  out[EDGES_X] /= weight;
  out[EDGES_Y] /= weight;
}

// Numbers [k] of up to PICTURES training pictures of class c; returns how many could be read.
static int measure_class(const ig_dataset *d, int c, double (*out)[N_NUMBERS]) {
  static const size_t bytes = (size_t)SIDE * SIDE * 3;
  const size_t n = d->count[IG_PART_TRAIN];
  size_t members = 0, seen = 0;
  uint8_t *pixels;
  int read = 0;
  for (size_t i = 0; i < n; i++)
    members += d->samples[d->index[IG_PART_TRAIN][i]].label == c;
  if (ig_alloc(bytes, "a small picture", &pixels) != IG_OK)
    return 0;
  const size_t every = members > PICTURES ? members / PICTURES : 1;
  for (size_t i = 0; i < n && read < PICTURES; i++) {
    const ig_sample *s = &d->samples[d->index[IG_PART_TRAIN][i]];
    if (s->label != c || seen++ % every)
      continue;
    if (ig_picture_load(s->path, SIDE, 0, pixels) == IG_OK)
      measure(pixels, out[read++]);
    else
      ig_error_clear();
  }
  ig_free(pixels);
  return read;
}

// 1 where the numbers are clearly above 0, -1 where below, else 0.
static int side_of(double (*numbers)[N_NUMBERS], int n, int which) {
  double mean = 0, square = 0;
  for (int i = 0; i < n; i++)
    mean += numbers[i][which] / n;
  for (int i = 0; i < n; i++)
    square += (numbers[i][which] - mean) * (numbers[i][which] - mean) / n;
  return n < 4 || fabs(mean) <= 2 * sqrt(square) ? 0 : mean > 0 ? 1 : -1;
}

ig_status ig_dataset_directions(const ig_dataset *d, int threads, ig_directions *out) {
  ig_direction *const of[N_NUMBERS] = {&out->transpose, &out->flip, &out->flip, &out->vflip, &out->vflip};
  int sides[MOST_CLASSES][N_NUMBERS] = {{0}};
  double(*numbers)[N_NUMBERS] = NULL;
  *out = (ig_directions){0};
  if (d->kind != IG_DATASET_FOLDER || d->task != IG_TASK_CLASSIFY || d->n_classes < 2 || d->n_classes > MOST_CLASSES)
    return IG_OK;
  IG_TRY(ig_alloc_array((size_t)d->n_classes * PICTURES, sizeof *numbers, "directions of classes", &numbers));
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int c = 0; c < d->n_classes; c++) {
    const int n = measure_class(d, c, numbers + (size_t)c * PICTURES);
    for (int k = 0; k < N_NUMBERS; k++)
      sides[c][k] = side_of(numbers + (size_t)c * PICTURES, n, k);
  }
  ig_free(numbers);
  for (int k = 0; k < N_NUMBERS; k++)
    for (int a = 0; a < d->n_classes; a++)
      for (int b = 0; b < d->n_classes && !of[k]->a; b++)
        if (sides[a][k] > 0 && sides[b][k] < 0)
          *of[k] = (ig_direction){d->classes[a], d->classes[b]};
  return IG_OK;
}
