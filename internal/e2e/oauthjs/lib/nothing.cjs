// Stands for the encryption of matrix-js-sdk, which signing in does not need: whatever is asked for is an empty class.
module.exports = new Proxy({}, { get: () => class {} });
