const fs = require("node:fs");
const http = require("node:http");

const [url, upload, count] = process.argv.slice(-3);
const body = fs.readFileSync(upload);

const send = () =>
  new Promise((done) => {
    const request = http.request(url, { method: "POST" }, (response) => {
      response.resume();
      response.on("end", () => done(response.statusCode));
      response.on("error", (error) => done(error.code));
    });
    request.on("error", (error) => done(error.code));
    request.end(body);
  });

(async () => {
  for (let sent = 0; sent < Number(count); sent++) console.log(String(await send()));
})();
