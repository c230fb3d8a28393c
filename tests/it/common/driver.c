// A Vulkan layer: a driver with faults. It changes shaders before the real driver compiles them, and makes calls fail.
//
// DRIVER_FAULT=NAME      one of
//   exp, log, sqrt       results of this function are rounded to 16-bit floats
//   narrow_store         32-bit floats are rounded to 16 bits before they are stored in a buffer
//   lost_store           the last store of each shader into a buffer or an image is left out
//   barrier              barriers of workgroups are left out
//   last_turn            a loop `i < n` ends before the turn with i = n - 1
//   turns=N              all loops of a shader's function end after N turns together
//   memory=N             allocations fail that would be more than N bytes in total
//   pipeline_memory      no memory for compiled shaders
//   lost=N               the device is lost at the N-th submission, counted from 1
//   lost_second=N        the device that is used second is lost at its N-th submission
// DRIVER_COUNT=FILE      "changes submissions", the changes of shaders and the submissions, are written to FILE at the end
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The declarations of Vulkan that are needed, from its specification.
typedef int Result;
typedef void (*Function)(void);
typedef Function (*GetProcAddr)(void *, const char *);
enum { OUT_OF_DEVICE_MEMORY = -2, INITIALIZATION_FAILED = -3, DEVICE_LOST = -4 };
enum { LOADER_INSTANCE_CREATE_INFO = 47, LOADER_DEVICE_CREATE_INFO = 48, LAYER_LINK_INFO = 0 };
typedef struct Link { struct Link *next; GetProcAddr instance_proc, other_proc; } Link;
typedef struct Chained { int type; const struct Chained *next; int function; Link *link; } Chained;
typedef struct { int type; const void *next; uint32_t flags; size_t bytes; const uint32_t *words; } ModuleInfo;
typedef struct { int type; const void *next; uint64_t bytes; uint32_t memory_type; } MemoryInfo;
typedef struct { int type; void *next; uint32_t version; GetProcAddr instance_proc, device_proc, physical_proc; } Interface;

static void *instance, *the_device;
static GetProcAddr next_instance_proc, next_device_proc;
static atomic_long changes, submissions, bytes;

static const char *fault(const char *name) {
    const char *fault = getenv("DRIVER_FAULT");
    size_t length = strlen(name);
    if (!fault || strncmp(fault, name, length) != 0) return NULL;
    return fault[length] == 0 ? fault + length : fault[length] == '=' ? fault + length + 1 : NULL;
}

__attribute__((destructor)) static void count(void) {
    const char *path = getenv("DRIVER_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld %ld", atomic_load(&changes), atomic_load(&submissions));
    fclose(file);
}

// The instructions of SPIR-V that are needed, from its specification.
enum {
    EXT_INST = 12, TYPE_INT = 21, TYPE_FLOAT = 22, TYPE_VECTOR = 23, TYPE_POINTER = 32, CONSTANT = 43, FUNCTION = 54,
    VARIABLE = 59, LOAD = 61, STORE = 62, ACCESS_CHAIN = 65, IMAGE_WRITE = 99, QUANTIZE_TO_F16 = 116, I_ADD = 128,
    U_LESS_THAN = 176, CONTROL_BARRIER = 224, LOOP_MERGE = 246, LABEL = 248, BRANCH = 249, BRANCH_CONDITIONAL = 250,
    TYPE_BOOL = 20, FUNCTION_CLASS = 7, STORAGE_BUFFER_CLASS = 12, UNIFORM_CLASS = 2,
};

typedef struct { uint32_t *words; size_t length; } Module;

static void put(Module *to, int code, int count, const uint32_t *operands) {
    to->words[to->length++] = (uint32_t)(count + 1) << 16 | (uint32_t)code;
    memcpy(to->words + to->length, operands, (size_t)count * 4);
    to->length += (size_t)count;
}
#define PUT(to, code, ...) \
    put(to, code, sizeof((uint32_t[]){__VA_ARGS__}) / 4, (uint32_t[]){__VA_ARGS__})

// What is known of an id: the instruction that made it, its type, and for pointers the class and the type they point to.
typedef struct { uint32_t code, type, class, pointee, width; } Id;

static int stores_to_memory(const Id *ids, const uint32_t *at, uint32_t code) {
    if (code == IMAGE_WRITE) return 1;
    if (code != STORE) return 0;
    uint32_t class = ids[ids[at[1]].type].class;
    return class == STORAGE_BUFFER_CLASS || class == UNIFORM_CLASS;
}

static Module changed(const uint32_t *words, size_t length) {
    uint32_t bound = words[3];
    Id *ids = calloc(bound + 1, sizeof *ids);
    uint32_t uint_type = 0, bool_type = 0, math = 0, last_store = 0;
    static const struct { const char *name; uint32_t number; } FUNCTIONS[] =
        {{"exp", 27}, {"log", 28}, {"sqrt", 31}};
    for (size_t i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++)
        if (fault(FUNCTIONS[i].name)) math = FUNCTIONS[i].number;
    for (size_t i = 5; i < length; i += words[i] >> 16) {
        const uint32_t *at = words + i;
        uint32_t code = at[0] & 0xffff;
        if (code == TYPE_BOOL) bool_type = at[1];
        if (code == TYPE_INT && at[2] == 32 && at[3] == 0) uint_type = at[1];
        if (code == TYPE_FLOAT) ids[at[1]] = (Id){.code = code, .width = at[2]};
        if (code == TYPE_VECTOR) ids[at[1]] = (Id){.code = code, .width = ids[at[2]].code == TYPE_FLOAT ? ids[at[2]].width : 0};
        if (code == TYPE_POINTER) ids[at[1]] = (Id){.code = code, .class = at[2], .pointee = at[3]};
        if (code == VARIABLE || code == ACCESS_CHAIN) ids[at[2]] = (Id){.code = code, .type = at[1]};
        if (stores_to_memory(ids, at, code)) last_store = (uint32_t)i;
    }
    const char *turns = fault("turns");
    Module to = {malloc((length * 2 + 256) * 4), 5};
    memcpy(to.words, words, 20);
    // New ids.
    uint32_t pointer = bound++, zero = bound++, one = bound++, most = bound++, counter = 0;
    int begins = 0, in_header = 0, functions = 0;
    for (size_t i = 5; i < length; i += words[i] >> 16) {
        const uint32_t *at = words + i;
        uint32_t code = at[0] & 0xffff, size = at[0] >> 16;
        if (code == FUNCTION && functions++ == 0 && uint_type && (turns || fault("last_turn"))) {
            PUT(&to, CONSTANT, uint_type, zero, 0);
            PUT(&to, CONSTANT, uint_type, one, 1);
            PUT(&to, CONSTANT, uint_type, most, turns ? (uint32_t)atol(turns) : 0);
            PUT(&to, TYPE_POINTER, pointer, FUNCTION_CLASS, uint_type);
        }
        if (code == FUNCTION) begins = 1;
        if (code == CONTROL_BARRIER && fault("barrier")) {
            changes++;
        } else if (i == last_store && fault("lost_store")) {
            changes++;
        } else if (code == EXT_INST && math && at[4] == math) {
            uint32_t exact = bound++;
            memcpy(to.words + to.length, at, size * 4);
            to.words[to.length + 2] = exact;
            to.length += size;
            PUT(&to, QUANTIZE_TO_F16, at[1], at[2], exact);
            changes++;
        } else if (code == STORE && fault("narrow_store") && stores_to_memory(ids, at, code) &&
                   ids[ids[ids[at[1]].type].pointee].width == 32) {
            uint32_t narrow = bound++;
            PUT(&to, QUANTIZE_TO_F16, ids[ids[at[1]].type].pointee, narrow, at[2]);
            PUT(&to, STORE, at[1], narrow);
            changes++;
        } else if (code == LOOP_MERGE && turns && uint_type && bool_type && counter) {
            uint32_t before = bound++, after = bound++, goes_on = bound++;
            PUT(&to, LOAD, uint_type, before, counter);
            PUT(&to, I_ADD, uint_type, after, before, one);
            PUT(&to, STORE, counter, after);
            PUT(&to, U_LESS_THAN, bool_type, goes_on, before, most);
            memcpy(to.words + to.length, at, size * 4);
            to.length += size;
            // The header branches to the loop's body.
            const uint32_t *branch = at + size;
            if ((branch[0] & 0xffff) == BRANCH) {
                PUT(&to, BRANCH_CONDITIONAL, goes_on, branch[1], at[1]);
                i += size;
                size = branch[0] >> 16;
                changes++;
                // The loop adds the size of the instruction at i, which is the branch now.
            }
        } else if (code == U_LESS_THAN && in_header && uint_type && fault("last_turn")) {
            uint32_t next = bound++;
            PUT(&to, I_ADD, uint_type, next, at[3], one);
            PUT(&to, U_LESS_THAN, at[1], at[2], next, at[4]);
            in_header = 0;
            changes++;
        } else {
            memcpy(to.words + to.length, at, size * 4);
            to.length += size;
        }
        if (code == LABEL && begins) {
            begins = 0;
            if (turns && uint_type) {
                counter = bound++;
                PUT(&to, VARIABLE, pointer, counter, FUNCTION_CLASS, zero);
            }
        }
        // The condition is in the first block of the loop.
        if (code == LOOP_MERGE) in_header = 1;
        if (code == BRANCH_CONDITIONAL) in_header = 0;
    }
    to.words[3] = bound;
    free(ids);
    return to;
}

#define DEVICE(type, name, ...) ((type(*)(__VA_ARGS__))next_device_proc(device, name))

static Result create_shader_module(void *device, const ModuleInfo *info, const void *allocator, uint64_t *module) {
    Module words = changed(info->words, info->bytes / 4);
    ModuleInfo other = *info;
    other.words = words.words;
    other.bytes = words.length * 4;
    Result result = DEVICE(Result, "vkCreateShaderModule", void *, const void *, const void *, uint64_t *)(
        device, &other, allocator, module);
    free(words.words);
    return result;
}

// The allocations, with their sizes.
static struct { _Atomic uint64_t memory; long bytes; } allocations[4096];

static Result allocate_memory(void *device, const MemoryInfo *info, const void *allocator, uint64_t *memory) {
    long total = atomic_fetch_add(&bytes, (long)info->bytes) + (long)info->bytes;
    const char *most = fault("memory");
    if (most && total > atol(most)) {
        atomic_fetch_sub(&bytes, (long)info->bytes);
        return OUT_OF_DEVICE_MEMORY;
    }
    Result result = DEVICE(Result, "vkAllocateMemory", void *, const void *, const void *, uint64_t *)(
        device, info, allocator, memory);
    for (size_t i = 0; result == 0 && i < sizeof allocations / sizeof *allocations; i++) {
        uint64_t none = 0;
        if (atomic_compare_exchange_strong(&allocations[i].memory, &none, *memory)) {
            allocations[i].bytes = (long)info->bytes;
            break;
        }
    }
    return result;
}

static void free_memory(void *device, uint64_t memory, const void *allocator) {
    for (size_t i = 0; memory && i < sizeof allocations / sizeof *allocations; i++) {
        if (atomic_load(&allocations[i].memory) == memory) {
            atomic_fetch_sub(&bytes, allocations[i].bytes);
            atomic_store(&allocations[i].memory, 0);
            break;
        }
    }
    DEVICE(void, "vkFreeMemory", void *, uint64_t, const void *)(device, memory, allocator);
}

static Result create_pipelines(
    void *device, uint64_t cache, uint32_t number, const void *infos, const void *allocator, uint64_t *pipelines) {
    if (fault("pipeline_memory")) return OUT_OF_DEVICE_MEMORY;
    return DEVICE(Result, "vkCreateComputePipelines", void *, uint64_t, uint32_t, const void *, const void *, uint64_t *)(
        device, cache, number, infos, allocator, pipelines);
}

static _Atomic(void *) first_queue;
static atomic_long submissions_of_others;

static Result queue_submit(void *queue, uint32_t number, const void *submits, uint64_t fence) {
    void *device = the_device;
    long done = atomic_fetch_add(&submissions, 1) + 1;
    const char *lost = fault("lost");
    if (lost && done >= atol(lost)) return DEVICE_LOST;
    void *first = NULL;
    const char *lost_second = fault("lost_second");
    if (!atomic_compare_exchange_strong(&first_queue, &first, queue) && first != queue) {
        long done_by_others = atomic_fetch_add(&submissions_of_others, 1) + 1;
        if (lost_second && done_by_others >= atol(lost_second)) return DEVICE_LOST;
    }
    return DEVICE(Result, "vkQueueSubmit", void *, uint32_t, const void *, uint64_t)(queue, number, submits, fence);
}

static const Chained *link_info(const Chained *info, int type) {
    for (const Chained *at = info->next; at; at = at->next)
        if (at->type == type && at->function == LAYER_LINK_INFO) return at;
    return NULL;
}

static Result create_instance(const void *info, const void *allocator, void **made) {
    Chained *chained = (Chained *)link_info(info, LOADER_INSTANCE_CREATE_INFO);
    if (!chained) return INITIALIZATION_FAILED;
    next_instance_proc = chained->link->instance_proc;
    chained->link = chained->link->next;
    Result (*next)(const void *, const void *, void **) =
        (Result(*)(const void *, const void *, void **))next_instance_proc(NULL, "vkCreateInstance");
    Result result = next ? next(info, allocator, made) : INITIALIZATION_FAILED;
    if (result == 0) instance = *made;
    return result;
}

static Result create_device(void *physical, const void *info, const void *allocator, void **made) {
    Chained *chained = (Chained *)link_info(info, LOADER_DEVICE_CREATE_INFO);
    if (!chained) return INITIALIZATION_FAILED;
    GetProcAddr instance_proc = chained->link->instance_proc;
    next_device_proc = chained->link->other_proc;
    chained->link = chained->link->next;
    Result (*next)(void *, const void *, const void *, void **) =
        (Result(*)(void *, const void *, const void *, void **))instance_proc(instance, "vkCreateDevice");
    Result result = next ? next(physical, info, allocator, made) : INITIALIZATION_FAILED;
    if (result == 0) the_device = *made;
    return result;
}

static Function own(const char *name) {
    static const struct { const char *name; Function function; } OWN[] = {
        {"vkCreateShaderModule", (Function)create_shader_module},
        {"vkAllocateMemory", (Function)allocate_memory},
        {"vkFreeMemory", (Function)free_memory},
        {"vkCreateComputePipelines", (Function)create_pipelines},
        {"vkQueueSubmit", (Function)queue_submit},
    };
    for (size_t i = 0; i < sizeof OWN / sizeof *OWN; i++)
        if (strcmp(name, OWN[i].name) == 0) return OWN[i].function;
    return NULL;
}

static Function device_proc(void *device, const char *name) {
    if (strcmp(name, "vkGetDeviceProcAddr") == 0) return (Function)device_proc;
    Function function = own(name);
    return function ? function : next_device_proc(device, name);
}

static Function instance_proc(void *instance, const char *name) {
    if (strcmp(name, "vkGetInstanceProcAddr") == 0) return (Function)instance_proc;
    if (strcmp(name, "vkGetDeviceProcAddr") == 0) return (Function)device_proc;
    if (strcmp(name, "vkCreateInstance") == 0) return (Function)create_instance;
    if (strcmp(name, "vkCreateDevice") == 0) return (Function)create_device;
    Function function = own(name);
    return function ? function : next_instance_proc(instance, name);
}

__attribute__((visibility("default"))) Result vkNegotiateLoaderLayerInterfaceVersion(Interface *interface) {
    if (interface->version > 2) interface->version = 2;
    interface->instance_proc = instance_proc;
    interface->device_proc = device_proc;
    interface->physical_proc = NULL;
    return 0;
}
