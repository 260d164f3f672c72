// A client's site on loopback: it keeps what browsers bring, and answers with a page.
import http from "node:http";

export class Site {
    visits = [];
    #waiting = [];

    /** @param answer what to do with a visit before the page is shown: a redirect, or nothing. */
    static async listen(host, answer = () => undefined, page = "<!doctype html><title>Arrived</title><p>Arrived") {
        const site = new Site();
        site.server = http.createServer((request, response) => {
            const chunks = [];
            request.on("data", (c) => chunks.push(c));
            request.on("end", () => {
                const visit = { method: request.method, url: request.url, headers: request.headers, body: Buffer.concat(chunks).toString() };
                if (request.url !== "/favicon.ico") {
                    site.visits.push(visit);
                    for (const tell of site.#waiting.splice(0)) tell();
                }
                const location = answer(visit);
                if (location) response.writeHead(302, { location }).end();
                else response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(typeof page === "function" ? page(visit) : page);
            });
        });
        await new Promise((resolve, reject) => site.server.once("error", reject).listen(0, host, resolve));
        site.port = site.server.address().port;
        return site;
    }

    /** Waits for a visit that matches, and takes it and all before it away. */
    async visit(match) {
        for (;;) {
            const i = this.visits.findIndex(match);
            if (i >= 0) return this.visits.splice(0, i + 1).pop();
            await new Promise((resolve, reject) => {
                const timer = setTimeout(() => reject(new Error(`nobody came: ${JSON.stringify(this.visits.map((v) => v.url))}`)), 40_000);
                this.#waiting.push(() => (clearTimeout(timer), resolve()));
            });
        }
    }

    close() {
        this.server.closeAllConnections();
        this.server.close();
    }
}
