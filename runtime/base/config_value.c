// Texts to typed values. Rule: the whole text must be understood, in the C locale whatever the program's locale is, and
// a refusal says what was found, where, and what is expected.
#include "runtime/base/config_value.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/base/text.h"

bool ig_value_is_bool(const char *text, bool *out) {
  static const char *const words[] = {"0", "1", "false", "true", "no", "yes", "off", "on"};
  for (int i = 0; i < 8; i++)
    if (strcmp(text, words[i]) == 0) {
      *out = i & 1;
      return true;
    }
  return false;
}

// Index of a word among "a|b|c"; -1 where it is none.
static int choice_of(const char *choices, const char *text) {
  size_t length = strlen(text);
  for (int i = 0; choices; i++) {
    size_t n = strcspn(choices, "|");
    if (n == length && memcmp(choices, text, n) == 0)
      return i;
    choices = choices[n] ? choices + n + 1 : NULL;
  }
  return -1;
}

// A finite decimal number at the start of text; *end is what follows. No blanks, hexadecimal, nan or inf.
static bool read_number(const char *text, double *out, const char **end) {
  size_t sign = text[0] == '-' || text[0] == '+';
  const char *digits = text + sign + (text[sign] == '.');
  if (*digits < '0' || *digits > '9' || ((text[sign] == '0') && (text[sign + 1] | 32) == 'x'))
    return false;
  locale_t c_locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
  char *stop;
  *out = c_locale ? strtod_l(text, &stop, c_locale) : strtod(text, &stop);
  if (c_locale)
    freelocale(c_locale);
  *end = stop;
  return isfinite(*out);
}

static bool read_integer(const char *text, int64_t *out) {
  const char *digits = text + (text[0] == '-' || text[0] == '+');
  if (!*digits || digits[strspn(digits, "0123456789")])
    return false;
  errno = 0;
  *out = strtoll(text, NULL, 10);
  return errno == 0;
}

static bool read_float(const char *text, double *out) {
  const char *end;
  return read_number(text, out, &end) && !*end;
}

static bool read_size(const char *text, uint64_t *out) {
  static const struct {
    const char *unit;
    uint64_t bytes;
  } units[] = {{"", 1},
               {"B", 1},
               {"KB", 1000},
               {"MB", 1000000},
               {"GB", 1000000000},
               {"TB", 1000000000000},
               {"K", 1ull << 10},
               {"M", 1ull << 20},
               {"G", 1ull << 30},
               {"T", 1ull << 40},
               {"KiB", 1ull << 10},
               {"MiB", 1ull << 20},
               {"GiB", 1ull << 30},
               {"TiB", 1ull << 40}};
  const char *end;
  double number;
  if (text[0] == '-' || !read_number(text, &number, &end))
    return false;
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    if (strcmp(end, units[i].unit) != 0)
      continue;
    size_t whole = strspn(text, "0123456789");
    if (text + whole == end) {  // exact beyond 2^53
      errno = 0;
      uint64_t integer = strtoull(text, NULL, 10);
      return errno == 0 && !__builtin_mul_overflow(integer, units[i].bytes, out);
    }
    double bytes = number * (double)units[i].bytes;
    if (bytes >= 0x1p63)
      return false;
    *out = (uint64_t)bytes;
    return true;
  }
  return false;
}

static bool counts_steps(const ig_key *key) { return key->unit && strstr(key->unit, "step"); }

static bool read_duration(const ig_key *key, const char *text, ig_duration *out) {
  static const struct {
    const char *unit;
    double seconds;
  } units[] = {{"ms", 1e-3}, {"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}, {"d", 86400}};
  const char *end;
  double number;
  *out = (ig_duration){0};
  if (!read_number(text, &number, &end))
    return false;
  if (!*end && counts_steps(key))
    return read_integer(text, &out->steps);
  if (!*end) {
    out->seconds = number;
    return true;
  }
  for (size_t i = 0; i < sizeof units / sizeof *units; i++)
    if (strcmp(end, units[i].unit) == 0) {
      out->seconds = number * units[i].seconds;
      return true;
    }
  return false;
}

static bool in_range(const ig_key *key, double x) {
  if (key->min == 0 && key->max == 0)
    return true;
  return (key->flags & IG_KEY_MIN_OPEN ? x > key->min : x >= key->min) &&
         (key->flags & IG_KEY_MAX_OPEN ? x < key->max : x <= key->max);
}

static void bound_text(const ig_key *key, double x, char out[32]) {
  static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  if (key->type == IG_KEY_SIZE)
    for (; unit < 4 && x >= 1024 && fmod(x, 1024) == 0; unit++)
      x /= 1024;
  snprintf(out, 32, x == floor(x) ? "%.16g%s" : "%.15g%s", x, units[unit]);  // 2^53 has 16 digits
}

void ig_key_range_text(const ig_key *key, char out[96]) {
  char low[32], high[32];
  bool has_low = isfinite(key->min), has_high = isfinite(key->max), low_open = key->flags & IG_KEY_MIN_OPEN,
       high_open = key->flags & IG_KEY_MAX_OPEN;
  out[0] = 0;
  if (key->min == 0 && key->max == 0)
    return;
  bound_text(key, key->min, low);
  bound_text(key, key->max, high);
  if (has_low && has_high && !low_open && !high_open)
    snprintf(out, 96, "%s to %s", low, high);
  else if (has_low && has_high)
    snprintf(out, 96, "%s%s, %s%s", low_open ? "above " : "from ", low, high_open ? "below " : "at most ", high);
  else if (has_low)
    snprintf(out, 96, "%s%s%s", low_open ? "above " : "", low, low_open ? "" : " or more");
  else if (has_high)
    snprintf(out, 96, "%s%s", high_open ? "below " : "at most ", high);
}

void ig_key_type_text(const ig_key *key, char out[256]) {
  static const char *const names[] = {
      [IG_KEY_BOOL] = "0|1",      [IG_KEY_INT] = "int",           [IG_KEY_FLOAT] = "float", [IG_KEY_STRING] = "text",
      [IG_KEY_SIZE] = "size",     [IG_KEY_DURATION] = "duration", [IG_KEY_ENUM] = "",       [IG_KEY_LIST] = "list",
      [IG_KEY_FLOATS] = "floats", [IG_KEY_CONFIG] = "YAML file"};
  snprintf(out, 256, "%s%s%s", names[key->type], key->choices && *names[key->type] ? "|" : "",
           key->choices ? key->choices : "");
}

// "an integer, 1 to 512, or auto".
static void expected_text(const ig_key *key, char out[512]) {
  static const char *const phrases[] = {[IG_KEY_BOOL] = "0 or 1",
                                        [IG_KEY_INT] = "an integer",
                                        [IG_KEY_FLOAT] = "a number",
                                        [IG_KEY_STRING] = "a text",
                                        [IG_KEY_SIZE] = "a size such as 2GiB or 500MB",
                                        [IG_KEY_DURATION] = "a duration such as 30s, 10m or 2h",
                                        [IG_KEY_ENUM] = "one of ",
                                        [IG_KEY_LIST] = "a list a,b,c without empty items",
                                        [IG_KEY_FLOATS] = "numbers separated by commas",
                                        [IG_KEY_CONFIG] = "a YAML file"};
  char range[96];
  ig_key_range_text(key, range);
  int n = snprintf(out, 512, "%s%s%s%s%s", phrases[key->type],
                   key->type == IG_KEY_DURATION && counts_steps(key) ? " or a number of steps" : "", *range ? ", " : "",
                   range, key->type != IG_KEY_ENUM && key->choices ? ", or " : "");
  for (const char *p = key->choices; p && *p && n < 500; p++) {
    if (*p == '|')
      n += snprintf(out + n, 512 - (size_t)n, ", ");
    else
      out[n++] = *p, out[n] = 0;
  }
}

static ig_status split_items(ig_value *v, const char *text, const char *const *items, size_t n) {
  if (!items && *text) {
    n = 1;
    for (const char *p = text; *p; p++)
      n += *p == ',';
  }
  if (n == 0)
    return IG_OK;
  IG_TRY(ig_alloc_array(n, sizeof *v->items, "items of a list", &v->items));
  v->n = n;
  for (size_t i = 0; i < n; i++) {
    if (items) {
      IG_TRY(ig_strdup(items[i], &v->items[i]));
      continue;
    }
    size_t length = strcspn(text, ",");
    IG_TRY(ig_asprintf(&v->items[i], "%.*s", (int)length, text));
    text += length + 1;
  }
  return IG_OK;
}

static ig_status join_items(ig_value *v, const char *const *items, size_t n) {
  ig_text joined = {0};
  ig_status status = ig_text_add(&joined, "", 0);
  for (size_t i = 0; i < n && status == IG_OK; i++)
    status = ig_text_addf(&joined, "%s%s", i ? "," : "", items[i]);
  if (status == IG_OK)
    v->text = joined.data;
  else
    ig_free(joined.data);
  return status;
}

// Whether v->text fits the key; fills the typed part.
static ig_status interpret(ig_value *v, const ig_key *key, bool split, bool *fits) {
  *fits = false;
  if (v->choice >= 0) {
    *fits = true;
    return IG_OK;
  }
  switch (key->type) {
    case IG_KEY_BOOL:
      *fits = ig_value_is_bool(v->text, &v->flag);
      break;
    case IG_KEY_INT:
      *fits = read_integer(v->text, &v->integer) && in_range(key, (double)v->integer);
      break;
    case IG_KEY_FLOAT:
      *fits = read_float(v->text, &v->number) && in_range(key, v->number);
      break;
    case IG_KEY_SIZE:
      *fits = read_size(v->text, &v->bytes) && in_range(key, (double)v->bytes);
      break;
    case IG_KEY_DURATION:
      *fits = read_duration(key, v->text, &v->duration) &&
              in_range(key, v->duration.steps ? (double)v->duration.steps : v->duration.seconds);
      break;
    case IG_KEY_LIST:
      *fits = true;
      for (size_t i = 0; split && i < v->n; i++)
        *fits = *fits && v->items[i][0];
      break;
    case IG_KEY_FLOATS:
      *fits = true;
      if (v->n)
        IG_TRY(ig_alloc_array(v->n, sizeof *v->numbers, "numbers of a list", &v->numbers));
      for (size_t i = 0; i < v->n; i++)
        *fits = *fits && read_float(v->items[i], &v->numbers[i]) && in_range(key, v->numbers[i]);
      break;
    case IG_KEY_STRING:
    case IG_KEY_CONFIG:
      *fits = true;
      break;
    case IG_KEY_ENUM:
      break;
  }
  return IG_OK;
}

// "; did you mean adamw?" for a word that is none of the choices.
static const char *nearest_choice(char out[IG_NEAREST_BYTES], const ig_key *key, const char *text) {
  char words[512];
  const char *names[64];
  size_t n = 0;
  out[0] = 0;
  if (key->type != IG_KEY_ENUM || strlen(key->choices) >= sizeof words)
    return out;
  strcpy(words, key->choices);
  char *state = NULL;
  for (char *word = strtok_r(words, "|", &state); word && n < 64; word = strtok_r(NULL, "|", &state))
    names[n++] = word;
  return ig_nearest(out, text, names, n);
}

ig_status ig_value_parse(ig_value *out, const ig_key *key, const char *text, const char *const *items, size_t n,
                         ig_config_source source, const char *where) {
  ig_status status = IG_OK;
  ig_value v = {.source = source, .choice = -1};
  bool is_list = key->type == IG_KEY_LIST || key->type == IG_KEY_FLOATS, fits;
  char quoted[IG_QUOTE_BYTES], expected[512], nearest[IG_NEAREST_BYTES];
  if (items && !is_list) {
    expected_text(key, expected);
    return ig_fail(IG_ERR_USAGE, "%s: %s is a sequence; expected %s", where, key->name, expected);
  }
  IG_GOTO(items ? join_items(&v, items, n) : ig_strdup(text, &v.text));
  IG_GOTO(ig_strdup(where, &v.where));
  v.choice = choice_of(key->choices, v.text);
  if (is_list && v.choice < 0)
    IG_GOTO(split_items(&v, v.text, items, n));
  IG_GOTO(interpret(&v, key, !items, &fits));
  if (!fits) {
    expected_text(key, expected);
    IG_GOTO(ig_fail(IG_ERR_USAGE, "%s: %s is %s; expected %s%s", where, key->name, ig_quote(quoted, v.text), expected,
                    nearest_choice(nearest, key, v.text)));
  }
  *out = v;
  return IG_OK;
done:
  ig_value_fini(&v);
  return status;
}

void ig_value_fini(ig_value *v) {
  for (size_t i = 0; v->items && i < v->n; i++)
    ig_free(v->items[i]);
  ig_free(v->items);
  ig_free(v->numbers);
  ig_free(v->text);
  ig_free(v->where);
  *v = (ig_value){.choice = -1};
}

bool ig_value_equal(const ig_value *a, const ig_value *b, const ig_key *key) {
  if (!a->text || !b->text)
    return a->text == b->text;
  if (a->choice != b->choice || a->n != b->n)
    return false;
  if (a->choice >= 0)
    return true;
  switch (key->type) {
    case IG_KEY_BOOL:
      return a->flag == b->flag;
    case IG_KEY_INT:
      return a->integer == b->integer;
    case IG_KEY_FLOAT:
      return a->number == b->number;
    case IG_KEY_SIZE:
      return a->bytes == b->bytes;
    case IG_KEY_DURATION:
      return a->duration.seconds == b->duration.seconds && a->duration.steps == b->duration.steps;
    case IG_KEY_FLOATS:
      for (size_t i = 0; i < a->n; i++)
        if (a->numbers[i] != b->numbers[i])
          return false;
      return true;
    case IG_KEY_LIST:
      for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->items[i], b->items[i]) != 0)
          return false;
      return true;
    default:
      return strcmp(a->text, b->text) == 0;
  }
}
