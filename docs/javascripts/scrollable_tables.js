// A keyboard scrolls only what has the focus: wide tables can get it.
const makeScrollable = () => {
  for (const area of document.querySelectorAll(".md-typeset__scrollwrap")) {
    if (area.scrollWidth > area.clientWidth) area.tabIndex = 0;
    else area.removeAttribute("tabindex");
  }
};
// After the theme has put each table into an area that scrolls.
document$.subscribe(() => requestAnimationFrame(makeScrollable));
window.addEventListener("resize", makeScrollable);
