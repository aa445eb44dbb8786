"use strict";
// What every page has: tables that their headings sort, and the button of the theme.
function sortBy(heading) {
  const table = heading.closest("table"),
    column = heading.cellIndex,
    body = table.tBodies[0];
  const direction = heading.ariaSort === "ascending" ? "descending" : "ascending";
  table.querySelectorAll("th[aria-sort]").forEach(th => th.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", direction);
  const key = row => {
    const cell = row.cells[column],
      text = cell.dataset.sort ?? cell.textContent.trim();
    return text === "" || text === "–" ? null : text;
  };
  const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  const rows = [...body.rows].map(row => [key(row), row]);
  rows.sort(([a], [b]) =>
    a === null || b === null ? (a === null) - (b === null) : (direction === "ascending" ? 1 : -1) * compare(a, b),
  );
  body.append(...rows.map(([, row]) => row));
}
document.addEventListener("click", event => {
  const heading = event.target.closest(".sortable thead th:has(button)");
  if (heading) sortBy(heading);
});

const themeButton = document.getElementById("theme");
let theme = chosenTheme(),
  themed = () => {}; // what a page draws again in other colours
function setTheme() {
  applyTheme(theme);
  themeButton.textContent = `Theme: ${theme}`;
  themed();
}
themeButton.addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  try {
    localStorage.theme = theme;
  } catch {
    /* it lasts until the page is closed */
  }
  setTheme();
});
prefersDark.addEventListener("change", setTheme);
setTheme();
