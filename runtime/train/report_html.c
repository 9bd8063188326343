// The page around the report: escaping, style, head and foot. Rule: no script, no address; the policy in the head would
// stop both.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/mem.h"
#include "runtime/train/report_internal.h"

ig_status ig_report_escape(ig_text *t, const char *text) {
  for (const char *p = text; *p;) {
    size_t n = ig_utf8_length(p);
    uint8_t a = (uint8_t)p[0];
    if (n == 0 || (a < 0x20 && a != '\n' && a != '\t') || a == 0x7f) {
      IG_TRY(ig_text_addf(t, "\\x%02x", a));
      n = 1;
    } else if (n == 3 && a == 0xe2 &&
               (((uint8_t)p[1] == 0x80 && (uint8_t)p[2] >= 0x8e && (uint8_t)p[2] <= 0xae && (uint8_t)p[2] != 0x90 &&
                 ((uint8_t)p[2] < 0x90 || (uint8_t)p[2] >= 0xa8)) ||
                ((uint8_t)p[1] == 0x81 && (uint8_t)p[2] >= 0xa6 && (uint8_t)p[2] <= 0xa9))) {
      // Marks that change the direction of text, and line separators, could make a name look like another.
      IG_TRY(ig_text_addf(t, "\\u{%x}", (a & 15) << 12 | (p[1] & 63) << 6 | (p[2] & 63)));
    } else {
      const char *as = *p == '<' ? "&lt;" : *p == '>' ? "&gt;" : *p == '&' ? "&amp;" : *p == '"' ? "&quot;" : NULL;
      as = *p == '\'' ? "&#39;" : as;
      IG_TRY(ig_text_add(t, as ? as : p, as ? strlen(as) : n));
    }
    p += n;
  }
  return IG_OK;
}

ig_status ig_report_wrap(ig_text *t, const char *before, const char *text, const char *after) {
  IG_TRY(ig_text_add(t, before, strlen(before)));
  IG_TRY(ig_report_escape(t, text));
  return ig_text_add(t, after, strlen(after));
}

ig_status ig_report_shell(ig_text *t, const char *word) {
  static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./,:=+@%";
  if (*word && strspn(word, plain) == strlen(word))
    return ig_report_escape(t, word);
  IG_TRY(ig_report_escape(t, "'"));
  for (const char *p = word; *p;) {
    size_t n = strcspn(p, "'");
    char *part = NULL;
    IG_TRY(ig_asprintf(&part, "%.*s%s", (int)n, p, p[n] ? "'\\''" : ""));
    ig_status status = ig_report_escape(t, part);
    ig_free(part);
    IG_TRY(status);
    p += n + (p[n] != 0);
  }
  return ig_report_escape(t, "'");
}

ig_status ig_report_row(ig_text *t, const char *name, const char *value) {
  IG_TRY(ig_report_wrap(t, "<tr><th scope=row>", name, "</th>"));
  return ig_report_wrap(t, "<td>", value, "</td></tr>\n");
}

const char *ig_report_seconds(char out[48], double s) {
  if (!isfinite(s) || s < 0)
    snprintf(out, 48, "?");
  else if (s < 60)
    snprintf(out, 48, "%.1f s", s);
  else if (s < 3600)
    snprintf(out, 48, "%.0f min %.0f s", floor(s / 60), floor(fmod(s, 60)));
  else
    snprintf(out, 48, "%.0f h %.0f min", floor(s / 3600), floor(fmod(s, 3600) / 60));
  return out;
}

const char *ig_report_bytes(char out[48], double bytes) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int u = 0;
  for (; u < 4 && fabs(bytes) >= 1024; u++)
    bytes /= 1024;
  snprintf(out, 48, u && fabs(bytes) < 100 ? "%.1f %s" : "%.0f %s", bytes, units[u]);
  return out;
}

static const char style[] =
    ":root{color-scheme:light "
    "dark;--bg:#fbfaf8;--card:#fff;--ink:#1d2025;--soft:#646a73;--line:#e3e1dc;--accent:#1f6f8b;"
    "--good:#2e7d4f;--care:#a86408;--bad:#b3382c;"
    "--c0:#1f6f8b;--c1:#d07a1f;--c2:#7b5ea7;--c3:#2e8b57;--c4:#b8405e;--c5:#5b7083;--c6:#9a7b1a;--c7:#3d5fb8}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#15171a;--card:#1c1f23;--ink:#e6e4df;--soft:#9aa0a8;--line:#31353b;"
    "--accent:#6cb8d3;--good:#74c695;--care:#e3aa57;--bad:#ee8a7e;"
    "--c0:#6cb8d3;--c1:#eda55d;--c2:#b79ee0;--c3:#74c695;--c4:#ec8aa3;--c5:#a5b6c5;--c6:#d8bd62;--c7:#92aaf0}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 "
    "system-ui,-apple-system,"
    "'Segoe UI',Roboto,'Noto Sans',sans-serif}\n"
    "main{max-width:66rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}"
    "h1{font-size:1.75rem;line-height:1.2;margin:0 0 "
    ".3rem;font-weight:650;letter-spacing:-.01em;overflow-wrap:anywhere}"
    "h2{font-size:1.2rem;margin:2.8rem 0 .8rem;font-weight:620;letter-spacing:-.005em}h3{font-size:.95rem;margin:0 0 "
    ".4rem;"
    "font-weight:600}p{margin:.4rem 0;max-width:44rem}.soft{color:var(--soft)}small,.small{font-size:.84rem}\n"
    ".lead{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1.3rem 1.5rem;margin:1.4rem "
    "0}"
    ".lead h2{margin:1.1rem 0 .2rem;font-size:1rem}.big{font-size:2.5rem;font-weight:650;letter-spacing:-.02em;"
    "line-height:1.1}.verdict{font-weight:650;font-size:1.1rem}.good{color:var(--good)}.care{color:var(--care)}"
    ".bad{color:var(--bad)}ul{margin:.3rem 0 .3rem;padding-left:1.2rem;max-width:44rem}li{margin:.25rem 0;"
    "overflow-wrap:anywhere}\n"
    ".grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem}"
    ".card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1rem;margin:0;min-width:0}"
    ".scroll{overflow-x:auto}\n"
    "table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}th,td{padding:.34rem .7rem;"
    "text-align:left;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}"
    "thead th{color:var(--soft);font-weight:550;white-space:nowrap}tbody "
    "th{font-weight:500;min-width:6.5rem}.n{text-align:right;"
    "white-space:nowrap}td:first-child,th:first-child{padding-left:0}\n"
    ".cm td{text-align:right;min-width:3.2rem;border:1px solid var(--bg);border-radius:4px;padding:.4rem .6rem;"
    "background:color-mix(in srgb,var(--h) calc(var(--s)*78%),var(--card))}.cm .hi{color:var(--card);font-weight:600}"
    ".cm td.d{--h:var(--accent)}.cm td.e{--h:var(--bad)}.cm th{border:0;white-space:nowrap;padding:.3rem .6rem;"
    "font-weight:500}.cm th{max-width:9.5rem;overflow:hidden;text-overflow:ellipsis}.cm thead "
    "th{text-align:right;max-width:7rem}.cm td.z{color:var(--soft)}\n"
    ".shots{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.6rem,1fr));gap:1rem}figure{margin:0}.shots "
    "figure.text{grid-column:1/-1}blockquote{margin:0 0 .3rem;white-space:pre-wrap}"
    ".shots img{width:100%;height:auto;display:block;border-radius:8px;background:var(--line)}"
    ".shots .none{border:1px dashed var(--line);border-radius:8px;padding:1rem "
    ".8rem;min-height:9.6rem;color:var(--soft);"
    "font-size:.84rem;overflow-wrap:anywhere}figcaption{font-size:.84rem;line-height:1.4;margin-top:.4rem;"
    "overflow-wrap:anywhere}\n"
    "svg{display:block;width:100%;height:auto;overflow:visible}svg text{font-size:12px;fill:var(--soft)}"
    ".gl{stroke:var(--line);stroke-width:1}.ln{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}"
    ".key{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.84rem;color:var(--soft);margin-top:.3rem}"
    ".key i{display:inline-block;width:1.1em;height:3px;border-radius:2px;vertical-align:middle;margin-right:.4em}\n"
    "pre{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.9rem 1rem;font-size:.84rem;"
    "line-height:1.5;white-space:pre-wrap;overflow-wrap:anywhere;font-family:ui-monospace,'SF Mono',Consolas,monospace}"
    "bdi{overflow-wrap:anywhere}details>summary{cursor:pointer;color:var(--accent)}footer{margin-top:3rem;"
    "color:var(--soft);font-size:.84rem}\n"
    "@media(max-width:34rem){main{padding:1.4rem .9rem 3rem}.lead{padding:1rem}.big{font-size:2rem}h1{font-size:1.4rem}"
    ".shots{grid-template-columns:repeat(2,1fr);gap:.8rem}th,td{padding:.3rem .45rem}}\n"
    "@media print{:root{--bg:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--accent:#1f6f8b;--good:#2e7d4f;"
    "--care:#a86408;--bad:#b3382c;--c0:#1f6f8b;--c1:#d07a1f;--c2:#7b5ea7;--c3:#2e8b57;--c4:#b8405e;--c5:#5b7083;"
    "--c6:#9a7b1a;--c7:#3d5fb8}body{font-size:11pt;-webkit-print-color-adjust:exact;"
    "print-color-adjust:exact}main{max-width:none;padding:0}.card,figure,tr,.lead{break-inside:avoid}h2{break-after:"
    "avoid}"
    ".scroll{overflow:visible}}\n";

ig_status ig_report_page_begin(ig_text *t, const char *title) {
  IG_TRY(ig_text_addf(t,
                      "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n"
                      "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src data:; style-src "
                      "'unsafe-inline'\">\n<meta name=viewport content=\"width=device-width,initial-scale=1\">\n"
                      "<link rel=icon href=\"data:,\">\n"));
  IG_TRY(ig_report_wrap(t, "<title>", title, "</title>\n<style>"));
  return ig_text_addf(t, "%s</style></head>\n<body><main>\n", style);
}

ig_status ig_report_page_end(ig_text *t) {
  return ig_text_addf(t,
                      "<footer>Written by ingot report from the files of the run folder.</footer>\n"
                      "</main></body></html>\n");
}
