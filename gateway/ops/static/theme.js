// Before the first paint: the theme somebody chose here. Without a choice the system's applies.
const chosen = localStorage.getItem("gateway.theme");
if (chosen) document.documentElement.dataset.theme = chosen;
