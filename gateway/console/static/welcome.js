// A one-time link has its secret behind the #, which no browser sends to anybody: this hands it in with the form,
// and takes it out of the address bar and the history first.
(() => {
  const token = location.hash.slice(1);
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  document.getElementById("link").value = token;
  document.getElementById("welcome").submit();
})();
