//! The page's style sheet.

/// Light by default, dark where the reader's system is, black on white in print.
pub(crate) const STYLE: &str = "
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1a1f29;--soft:#5b6575;--line:#e2e6ec;--track:#eef1f5;
--net:#3b82c4;--crypto:#8b5cb8;--bus:#0f8f8c;--ecu:#4a9a4e;--other:#8b95a5;--back:#c98a1b;--bad:#c43d3d;--good:#2f8a4c;
--badbg:#fdf0ef;--badline:#efc4c0;--goodbg:#e9f5ec;--neutralbg:#eef1f5;--f0:#e8a75f;--f1:#e39350;--f2:#edb977;--f3:#dd8a52}
@media(prefers-color-scheme:dark){:root{--page:#12151b;--card:#1a1f28;--ink:#e6eaf1;--soft:#98a3b5;--line:#2b3240;
--track:#232935;--net:#5aa0e0;--crypto:#a981d6;--bus:#2fb5b0;--ecu:#69ba6d;--other:#7d8899;--back:#e0a63e;--bad:#e86a66;
--good:#5fc07e;--badbg:#33201f;--badline:#6a3734;--goodbg:#1b2f22;--neutralbg:#232935;
--f0:#8a5524;--f1:#7d4a20;--f2:#91602c;--f3:#74421f}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,
'Noto Sans','DejaVu Sans',sans-serif}
main{max-width:1120px;margin:0 auto;padding:40px 24px 64px}
h1{font-size:30px;line-height:1.2;letter-spacing:-.015em;margin:6px 0 10px;font-weight:650;text-wrap:balance}
h2{font-size:17px;margin:0 0 4px;font-weight:620}
.eyebrow{color:var(--soft);font-size:13px;letter-spacing:.02em}
.facts{color:var(--soft);display:flex;flex-wrap:wrap;gap:4px 22px;font-size:14px}
.facts b{color:var(--ink);font-weight:550}
code,.mono{font-family:ui-monospace,'SF Mono',Menlo,'DejaVu Sans Mono',monospace;font-size:.92em}
.lead{color:var(--soft);margin:0 0 16px;font-size:14px}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:22px 24px;margin-top:20px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:14px;margin-top:24px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:16px 18px}
.tile .k{color:var(--soft);font-size:13px}.tile .v{font-size:25px;font-weight:620;letter-spacing:-.01em;
font-variant-numeric:tabular-nums}.tile .n{color:var(--soft);font-size:13px}
.alarm{background:var(--badbg);border:1px solid var(--badline);border-radius:12px;padding:16px 20px;margin-top:20px}
.alarm p{margin:2px 0 0;max-width:90ch}.alarm strong{font-weight:620}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;color:var(--soft);margin-bottom:12px}
.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px;vertical-align:-1px}
.group{margin-top:16px;font-weight:600;font-size:14px}.group .soft{font-weight:400}
.soft{color:var(--soft)}
.row,.axis{display:grid;grid-template-columns:108px 1fr 84px;gap:12px;align-items:center;min-height:22px}
.row .s{font-size:12px;color:var(--soft);letter-spacing:.02em}
.row .d.bad-text{color:var(--bad);font-weight:600}.row .d{font-size:13px;text-align:right;font-variant-numeric:tabular-nums}
.track{position:relative;height:14px;background:linear-gradient(to right,var(--line) 1px,transparent 1px) 0 0/25% 100%,
var(--track);border-radius:4px;overflow:hidden}
.bar{position:absolute;top:0;bottom:0;min-width:3px;border-radius:3px;background:var(--other)}
.net{background:var(--net)}.crypto{background:var(--crypto)}.bus{background:var(--bus)}.ecu{background:var(--ecu)}
.other{background:var(--other)}.back{background:var(--back)}
.bad{background:repeating-linear-gradient(45deg,var(--bad) 0 5px,color-mix(in srgb,var(--bad) 72%,transparent) 5px 8px)}
.open{opacity:.55}.skipped{opacity:.35}
.axis{color:var(--soft);font-size:12px;font-variant-numeric:tabular-nums;margin-top:6px}
.axis div{display:flex;justify-content:space-between}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th{font-weight:500;color:var(--soft);text-align:left;font-size:13px;border-bottom:1px solid var(--line);padding:6px 14px 6px 0}
td{padding:12px 14px 12px 0;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}td.num,th.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.keep{white-space:nowrap}td .soft{font-size:13px}td .why{color:var(--bad);font-size:13px;max-width:44ch}
.pill{display:inline-block;border-radius:99px;padding:1px 10px;font-size:13px;font-weight:550;white-space:nowrap;
background:var(--neutralbg)}.pill.good{background:var(--goodbg);color:var(--good)}
.pill.bad{background:var(--badbg);color:var(--bad)}
.meter{position:relative;height:7px;border-radius:4px;background:var(--track);overflow:hidden;margin-top:5px;min-width:110px}
.meter i{position:absolute;left:0;top:0;bottom:0;background:var(--bus);border-radius:4px}
.meter u{position:absolute;top:0;bottom:0;width:2px;background:var(--ink);opacity:.6}
.buses{display:grid;grid-template-columns:repeat(auto-fit,minmax(280px,1fr));gap:8px 32px}
.buses .meter{height:11px}
.split{display:flex;justify-content:space-between;gap:12px;font-size:14px;font-variant-numeric:tabular-nums}
.flame{position:relative;margin-top:14px;overflow:hidden;border-radius:4px}
.flame div{position:absolute;height:19px;padding:0 5px;overflow:hidden;white-space:nowrap;text-overflow:ellipsis;
font-size:12px;line-height:19px;border-radius:3px;box-shadow:inset 0 0 0 .5px var(--card);color:#20150a;background:var(--f0)}
.flame .t{background:var(--other);color:#fff;font-weight:550}
.flame .f1{background:var(--f1)}.flame .f2{background:var(--f2)}.flame .f3{background:var(--f3)}
@media(prefers-color-scheme:dark){.flame div{color:#fff4e6}}
footer{color:var(--soft);font-size:13px;margin-top:26px}
@media(max-width:640px){main{padding:22px 14px}.row,.axis{grid-template-columns:84px 1fr 66px;gap:8px}h1{font-size:24px}}
@media print{:root{--page:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--track:#f0f0f0}
body{font-size:12px}main{max-width:none;padding:0}.card,.tile,.alarm{break-inside:avoid;border-color:#bbb}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
";
