// Search, filters, and points that lead to their rows.
const rows = [...document.querySelectorAll("#functions tbody tr")];
const search = document.getElementById("search");
const filters = [...document.querySelectorAll("#functions select")];
const dots = new Map(rows.map(row => [row.dataset.act, []]));
document.querySelectorAll("circle[data-act]").forEach(dot => dots.get(dot.dataset.act)?.push(dot));

function filter() {
  const words = search.value.toLowerCase().split(/\s+/),
    wanted = filters.filter(each => each.value);
  const fits = row =>
    words.every(word => row.dataset.act.toLowerCase().includes(word)) &&
    wanted.every(each => row.dataset[each.name] === each.value);
  rows.forEach(row => {
    row.hidden = !fits(row);
    dots.get(row.dataset.act).forEach(dot => dot.classList.toggle("faint", row.hidden));
  });
  const left = rows.filter(row => !row.hidden).length;
  document.getElementById("found").textContent = `${left} of ${rows.length} functions`;
}
document.getElementById("functions").addEventListener("input", filter);
document.getElementById("all").addEventListener("click", () => {
  [search, ...filters].forEach(each => (each.value = ""));
  filter();
});
document.addEventListener("click", event => {
  const dot = event.target.closest("circle[data-act]");
  if (!dot) return;
  search.value = dot.dataset.act;
  filter();
  document.getElementById("functions").scrollIntoView();
});
addEventListener("pageshow", () => {
  filter(); // by what the browser has left in the fields, if one comes back
  document.documentElement.dataset.drawn = 1;
});
