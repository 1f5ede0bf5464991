//! The style sheet's part for flame graphs, heat maps and lines.

/// Follows [`super::style::STYLE`] and uses its colours.
pub(crate) const STYLE: &str = "
:root{--accent:#1f5fae;--ondark:#fff;--h1:#b5d0ec;--h2:#8fb8e1;--h3:#689dd3;--h4:#4582c0;--h5:#2a68aa;--h6:#134a89;--h7:#08285a;
--d0:#3f74b5;--d1:#86add8;--d2:#c3d7ec;--d3:#dcdfe4;--d4:#f3cfc2;--d5:#e59a80;--d6:#b3482c;
--l0:#1f5fae;--l1:#b2500c;--l2:#2f7d3b;--l3:#8a3f9e;--l4:#8a6a00;--l5:#0b7c82}
@media(prefers-color-scheme:dark){:root{--accent:#7db4f2;--ondark:#0d1117;--h1:#27456b;--h2:#2a5584;--h3:#2f689f;--h4:#3576b5;--h5:#5a9bd8;
--h6:#93c2ee;--h7:#d8ebff;--d0:#3a6dab;--d1:#3d6594;--d2:#36495f;--d3:#3a404b;--d4:#5f443d;--d5:#8f5340;--d6:#ad4e30;
--l0:#7db4f2;--l1:#f0a05a;--l2:#7ccf88;--l3:#cf94e0;--l4:#dcc05a;--l5:#5fc9cf}}
[hidden]{display:none!important}
.tops .soft,.charts .soft,.heats .soft{font-size:13px}.heats svg,.charts svg{margin-top:6px}
.tops{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:18px 32px;margin-top:6px}
.tops h3,.charts h3,.heats h3{font-size:14px;font-weight:600;margin:0 0 2px}
.tops table{font-size:13px;table-layout:fixed}.tops td{padding:4px 8px 4px 0;border:0}
.tops td:first-child{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.tops td.num{width:84px}.tops td.num+td.num{width:62px;padding-right:0}
#flame-app{margin-top:22px;border-top:1px solid var(--line);padding-top:18px}
.tabs{display:flex;flex-wrap:wrap;gap:6px}
.tabs button,.tool{font:inherit;font-size:13.5px;color:var(--ink);background:var(--track);border:1px solid var(--line);
border-radius:8px;padding:5px 12px;cursor:pointer}
.tabs button[aria-selected=true]{background:var(--accent);border-color:var(--accent);color:var(--ondark);font-weight:600}
.tool:disabled{opacity:.5;cursor:default}
button:focus-visible,input:focus-visible,summary:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.tools{display:flex;flex-wrap:wrap;gap:10px 14px;align-items:center;margin:14px 0 0;font-size:13.5px}
.tools input[type=search]{font:inherit;font-size:13.5px;color:var(--ink);background:var(--page);border:1px solid var(--soft);
border-radius:8px;padding:5px 10px;width:240px;max-width:100%}
.strip{display:flex;height:46px;align-items:stretch;gap:1px;margin-top:14px;border-bottom:1px solid var(--soft)}
.strip span{flex:1;display:flex;align-items:flex-end;border-bottom:4px solid transparent;min-width:1px}
.strip i{display:block;width:100%;background:var(--other);opacity:.55}
.strip .in-shown i{background:var(--accent);opacity:1}.strip .in-shown{border-bottom-color:var(--accent)}
.strip .in-base i{background:var(--back);opacity:1}.strip .in-base{border-bottom-color:var(--back)}
.times{display:grid;gap:6px;margin-top:8px;font-size:13.5px}
.times>div{display:flex;flex-wrap:wrap;gap:6px 12px;align-items:center}.times b{min-width:74px;font-weight:600}
.times input[type=range]{width:180px;accent-color:var(--accent)}#flame-base input[type=range]{accent-color:var(--back)}
.times output{font-variant-numeric:tabular-nums}
#flame div{cursor:pointer;text-align:left}
#flame div:focus-visible{outline:3px solid var(--ink);outline-offset:-3px;z-index:1}
#flame .t{background:#5d6777;color:#fff}#flame .passed{opacity:.75}
#flame .miss{opacity:.32}#flame .hit{box-shadow:inset 0 0 0 2px var(--ink);font-weight:600}
#flame .d0{background:var(--d0);color:#fff}#flame .d1{background:var(--d1)}#flame .d2{background:var(--d2)}
#flame .d3{background:var(--d3)}#flame .d4{background:var(--d4)}#flame .d5{background:var(--d5)}#flame .d6{background:var(--d6);color:#fff}
#flame .d1,#flame .d2,#flame .d3,#flame .d4,#flame .d5{color:var(--ink)}
.legend .d0{background:var(--d0)}.legend .d1{background:var(--d1)}.legend .d2{background:var(--d2)}.legend .d3{background:var(--d3)}
.legend .d4{background:var(--d4)}.legend .d5{background:var(--d5)}.legend .d6{background:var(--d6)}
#flame-detail{min-height:3em;margin:10px 0 0;font-size:13.5px;overflow-wrap:anywhere}
#flame-notes{font-size:13px;color:var(--soft);margin:4px 0 0;overflow-wrap:anywhere}
.keys{font-size:13px;color:var(--soft);margin:6px 0 0}kbd{font:inherit;font-size:12px;border:1px solid var(--line);
border-radius:4px;padding:0 5px;background:var(--track)}
.charts,.heats{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:20px 32px;margin-top:10px}
.charts svg,.heats svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font:11px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif;fill:var(--soft)}
svg .axis-line{stroke:var(--soft);stroke-width:1}svg .grid{stroke:var(--line);stroke-width:1}
svg polyline{fill:none;stroke-width:1.6;stroke-linejoin:round}
.l0{stroke:var(--l0)}.l1{stroke:var(--l1)}.l2{stroke:var(--l2)}.l3{stroke:var(--l3)}.l4{stroke:var(--l4)}.l5{stroke:var(--l5)}
circle.l0{fill:var(--l0)}circle.l1{fill:var(--l1)}circle.l2{fill:var(--l2)}circle.l3{fill:var(--l3)}circle.l4{fill:var(--l4)}
circle.l5{fill:var(--l5)}
.legend i.l0{background:var(--l0)}.legend i.l1{background:var(--l1)}.legend i.l2{background:var(--l2)}.legend i.l3{background:var(--l3)}
.legend i.l4{background:var(--l4)}.legend i.l5{background:var(--l5)}
rect.h1{fill:var(--h1)}rect.h2{fill:var(--h2)}rect.h3{fill:var(--h3)}rect.h4{fill:var(--h4)}rect.h5{fill:var(--h5)}
rect.h6{fill:var(--h6)}rect.h7{fill:var(--h7)}rect.ground{fill:var(--track)}
.legend i.h1{background:var(--h1)}.legend i.h2{background:var(--h2)}.legend i.h3{background:var(--h3)}.legend i.h4{background:var(--h4)}
.legend i.h5{background:var(--h5)}.legend i.h6{background:var(--h6)}.legend i.h7{background:var(--h7)}
details.campaign{margin-top:20px}details.campaign summary{cursor:pointer;font-size:14px;font-weight:600}
@media print{#flame-app{display:none}}
";
