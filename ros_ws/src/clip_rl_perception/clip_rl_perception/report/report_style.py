"""Colours and layout of report pages: light and dark follow the reader's system."""

from __future__ import annotations

CSS = """
:root{--bg:#fafaf8;--card:#fff;--text:#1d2327;--soft:#5d676f;--line:#e3e5e4;--grid:#ececea;--accent:#0b7285;
--mark:#9a3412;--peak:#d9480f;--drop:#c2410c;--s0:#94a3b8;--s1:#60a5fa;--s2:#0b7285;--s3:#7c3aed;--s4:#d97706;--s5:#65a30d;--s6:#be185d;
--ok:#2f9e6e;--degraded:#d9a406;--stale:#e07b1a;--out:#8b5cf6;--invalid:#b91c1c;--dropped:#c3c8cc}
@media(prefers-color-scheme:dark){:root{--bg:#121517;--card:#1a1e21;--text:#e6e9eb;--soft:#98a2a9;--line:#2b3136;
--grid:#24292d;--accent:#4cc2d6;--mark:#fb923c;--peak:#ff8c42;--drop:#fb923c;--s0:#7b8794;--s1:#60a5fa;--s2:#4cc2d6;--s3:#a78bfa;
--s4:#f5b041;--s5:#a3d65c;--s6:#f472b6;--ok:#3fbf8a;--degraded:#e5b93a;--stale:#f0954a;--out:#a78bfa;--invalid:#ef5350;
--dropped:#474e54}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
main{max-width:1080px;margin:0 auto;padding:36px 20px 48px}
h1{font-size:26px;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:17px;margin:0 0 14px}
h3{font-size:13px;font-weight:600;margin:0 0 6px;color:var(--soft)}
.facts{margin:0;color:var(--soft);font-size:14px}
.verdict{font-size:18px;line-height:1.45;margin:16px 0 22px;max-width:46em}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px;margin:0 0 16px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:0 0 16px}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.tiles dt{color:var(--soft);font-size:13px}
.tiles dd{margin:2px 0 0;font-size:27px;line-height:1.2;font-weight:600;font-variant-numeric:tabular-nums}
.tiles p{margin:2px 0 0;color:var(--soft);font-size:12.5px}
.still+.still{margin-top:18px}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(240px,1fr));gap:10px}
figure{margin:0}
img{display:block;width:100%;border-radius:6px;background:#000}
figcaption{font-size:12.5px;color:var(--soft);margin-top:4px}
svg{display:block;width:100%;height:auto;margin:0 0 10px;overflow:visible}
svg text{font-size:11.5px;fill:var(--soft);font-variant-numeric:tabular-nums}
svg .marklabel{fill:var(--mark);paint-order:stroke;stroke:var(--card);stroke-width:3px}
svg .grid{stroke:var(--grid)}
svg .mark{stroke:var(--mark);stroke-dasharray:4 4;opacity:.7}
svg .dot{fill:var(--accent);opacity:.75}
svg .bar{fill:var(--accent)}
svg .drop{fill:var(--drop)}
svg .peak{fill:var(--peak);stroke:var(--card);stroke-width:1.5;cursor:pointer}
svg a:hover .peak{stroke:var(--text)}
svg path{fill:none;stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}
svg .c0{stroke:var(--accent)}svg .c1{stroke:var(--s4)}svg .c2{stroke:var(--s3)}svg .c3{stroke:var(--s5)}
svg .c4{stroke:var(--s6)}
svg .part{stroke:var(--soft);stroke-dasharray:2 3;opacity:.6}
svg .whisker{stroke:var(--text);stroke-width:1.5}
svg .label{font-size:13px;fill:var(--text)}
.still{scroll-margin-top:12px;padding:10px;margin:0 -10px;border-radius:8px}
.still:target{outline:2px solid var(--peak)}
.why{font-weight:400;color:var(--mark)}
.good{color:var(--ok);font-weight:600}.bad{color:var(--invalid);font-weight:600}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:14px;margin:0 0 16px}
h4{font-size:13px;font-weight:600;margin:16px 0 8px}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(360px,1fr));gap:0 28px}
.keys i.c0{background:var(--accent)}.keys i.c1{background:var(--s4)}.keys i.c2{background:var(--s3)}
.keys i.c3{background:var(--s5)}
.ci{color:var(--soft);font-size:12.5px}
.note{color:var(--soft);font-size:13px;margin:8px 0 0}
ul.note{padding-left:18px}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px;color:var(--soft);margin:0 0 14px}
.legend span{display:inline-flex;align-items:center}
i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:7px;vertical-align:-1px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th{font-weight:500;color:var(--soft);font-size:12.5px;text-align:left}
td,th{padding:6px 12px 6px 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
tbody tr:last-child td{border-bottom:0}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;padding-right:0;padding-left:12px}
details summary{cursor:pointer;color:var(--accent);margin-bottom:8px}
code{font-size:12.5px}
a{color:var(--accent)}
footer{color:var(--soft);font-size:13px;margin-top:20px}
.s0{fill:var(--s0);background:var(--s0)}.s1{fill:var(--s1);background:var(--s1)}.s2{fill:var(--s2);background:var(--s2)}
.s3{fill:var(--s3);background:var(--s3)}.s4{fill:var(--s4);background:var(--s4)}.s5{fill:var(--s5);background:var(--s5)}
.s6{fill:var(--s6);background:var(--s6)}
.v-ok{fill:var(--ok);background:var(--ok)}.v-degraded{fill:var(--degraded);background:var(--degraded)}
.v-stale{fill:var(--stale);background:var(--stale)}
.v-out_of_body,.v-out_of_distribution{fill:var(--out);background:var(--out)}
.v-invalid_input{fill:var(--invalid);background:var(--invalid)}.v-dropped{fill:var(--dropped);background:var(--dropped)}
@media print{body{background:#fff}section{break-inside:avoid}}
"""
"""The style sheet, without @import or any other reference to the network."""
